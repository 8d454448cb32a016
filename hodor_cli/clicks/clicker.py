"""Masks of a frame's objects from a user's prompts: clicks, boxes, scribbles and earlier masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.clicks.network import ClickNet, FrameMaps, channels_last
from hodor_cli.clicks.network_file import CLICK_WEIGHTS, load_click_net
from hodor_cli.clicks.prompts import Prompts, PromptState
from hodor_cli.clicks.shapes import PromptedMask, changed_near, owners, without_specks
from hodor_cli.clicks.view import View
from hodor_cli.engine.masks import check_object_id
from hodor_cli.errors import UsageError
from hodor_cli.images.label_png import array_of, outside_fault
from hodor_cli.images.spacing import evenly_spaced
from hodor_cli.runtime.device import choose_device
from hodor_cli.runtime.preprocess import frame_fault, normalise

Point = tuple[float, float]
Mask = NDArray[np.bool_]
#: The points of a scribble are thinned to this number, because more do not add information.
_STROKE_POINTS = 24
#: Passes of the head over a closer look; each starts from the mask of the one before.
_CLOSER_ROUNDS = 2
#: The smallest longer side of a frame, in pixels.
_MIN_SIDE = 64


class Clicker:
    """Makes the masks of a frame's objects from clicks, boxes, scribbles and earlier masks.

    The frame's features are computed once, in `set_frame`; every prompt then costs a pass of a light head.

        clicker = Clicker()
        clicker.set_frame(image)
        mask = clicker.click(320, 200)                     # (H, W) bool
        mask = clicker.click(300, 260, positive=False)
        mask = clicker.box((40, 60, 200, 150), object=2)   # x, y, width, height
        clicker.undo(object=2)
        segmenter.step(image, masks=clicker.labels())

    The user chooses the object ids (1..65535). The mask of an object does not depend on the other objects.

    Args:
        net: the network, or its file; None: the network in the package.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        side: the longer side, in pixels, to which the frame is resized; None for the network's own.
    """

    def __init__(
        self, net: ClickNet | str | Path | None = None, *, device: str | torch.device = "auto", side: int | None = None
    ) -> None:
        if side is not None and (not isinstance(side, Integral) or side < _MIN_SIDE):
            raise UsageError(f"`side` must be a whole number of pixels, at least {_MIN_SIDE}, not {side!r}")
        self.device = choose_device(device)
        found = net if isinstance(net, ClickNet) else load_click_net(CLICK_WEIGHTS if net is None else net)
        self.net = channels_last(found.to(self.device)).eval()
        self.side = side or found.config.side
        self._image: NDArray[np.uint8] | None = None
        self._whole: tuple[View, FrameMaps] | None = None
        self._close: dict[int, tuple[View, FrameMaps]] = {}
        #: The states of each object, oldest first; the last one is current.
        self._objects: dict[int, list[PromptState]] = {}

    def set_frame(self, image: NDArray[np.uint8]) -> None:
        """Take a frame (H, W, 3) uint8 RGB, compute its features, and forget all objects. Raises UsageError."""
        image = array_of(image, "the frame", UsageError)
        if wrong := frame_fault(image):
            raise UsageError(wrong)
        self.reset()
        self._image = image.copy()  # the caller may reuse its array, and crops are cut from this one later
        view = View.whole((image.shape[0], image.shape[1]), self.side)
        self._whole = (view, self._features(view))

    def reset(self, object: int | None = None) -> None:
        """Forget one object, or all of them."""
        for key in list(self._objects) if object is None else [object]:
            self._objects.pop(key, None)
            self._close.pop(key, None)

    @property
    def object_ids(self) -> list[int]:
        """The ids of the objects that have a prompt."""
        return sorted(key for key, found in self._objects.items() if len(found) > 1)

    def mask(self, object: int = 1) -> Mask:
        """The object's current mask, (H, W) bool; empty if it has no prompt."""
        found = self._objects.get(object, [PromptState()])[-1].mask
        return np.zeros(self._frame().shape[:2], dtype=bool) if found is None else found.copy()

    def labels(self) -> NDArray[np.uint16]:
        """The label map of all objects, (H, W) ids. Where masks overlap, the surer or smaller object is in front; an
        object that others cover completely is missing."""
        found = {key: PromptedMask(self.mask(key), self.log_odds(key)) for key in self.object_ids}
        return owners(found) if found else self.mask().astype(np.uint16)

    def log_odds(self, object: int = 1) -> NDArray[np.float32]:
        """The logarithm of the odds that each pixel belongs to the object's current mask, (H, W) float32.

        A mask that started from a given one is certain: infinity inside, minus infinity outside.
        """
        state = self._objects.get(object, [PromptState()])[-1]
        if self._whole is None or state.logits is None:
            return np.where(self.mask(object), np.float32(np.inf), np.float32(-np.inf))
        return self._whole[0].to_frame(state.logits)

    def click(self, x: float, y: float, *, positive: bool = True, object: int = 1) -> Mask:
        """Add a click at pixel (x, y), counted from 0 at the upper left: on the object, or off it if not `positive`.

        Returns the object's mask, (H, W) bool. Raises UsageError for a click outside the frame, and for a first prompt
        that is a negative click, because it does not show where the object is.
        """
        return self._add_points(object, [(x, y)], positive, "click")

    def box(self, box: Sequence[float], *, object: int = 1) -> Mask:
        """Replace the object's prompts by a box (x, y, width, height) around it. Returns the mask.

        Pieces that are much smaller than the largest one are removed, also after further clicks, unless they have a
        positive click. Raises UsageError for a box that reaches outside the frame or has no area, or of other than four
        numbers.
        """
        height, width = self._frame().shape[:2]
        try:
            x, y, w, h = (float(value) for value in box)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{box!r} is not a valid `box`; give x, y, width and height in pixels") from None
        left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
        if not (right - left >= 1 and bottom - top >= 1):
            raise UsageError(f"the box {x:g},{y:g},{w:g},{h:g} has no area in the {width}x{height} frame")
        if wrong := outside_fault((x, y, w, h), (height, width)):
            raise UsageError(wrong)
        self._states(object)
        return self._prompt(object, PromptState(box=(left, top, right - left, bottom - top)))

    def scribble(self, points: Sequence[Point], *, positive: bool = True, object: int = 1) -> Mask:
        """Add a line through pixels (x, y), with the arguments and errors of `click`. Returns the mask."""
        return self._add_points(object, points, positive, "scribble")

    def set_mask(self, mask: Mask, *, object: int = 1) -> Mask:
        """Start from a mask (H, W), for example from tracking, which clicks then correct. Returns the mask.

        Each click changes the mask only near it, so that the rest stays as it is.
        """
        mask = array_of(mask, "the mask", UsageError)
        if mask.dtype.kind not in "biu":
            raise UsageError(f"the mask is {mask.dtype}; give true or false per pixel, such as `mask > 0.5`")
        mask, size = mask.astype(bool), self._frame().shape[:2]
        if mask.shape != size:
            raise UsageError(f"the mask is {mask.shape} but the frame is {size}; give a mask of the frame's size")
        self._states(object).append(PromptState(given=mask, mask=mask))
        return mask.copy()

    def undo(self, object: int = 1) -> Mask:
        """Take back the object's last prompt. Returns the mask before it."""
        if len(self._objects.get(object, ())) > 1:
            self._objects[object].pop()
        return self.mask(object)

    def _add_points(self, object: int, points: Sequence[Point], positive: bool, kind: str) -> Mask:
        height, width = self._frame().shape[:2]
        try:
            places = [(float(x), float(y)) for x, y in points]
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{points!r} is not a valid {kind}; give x and y in pixels") from None
        if not places:
            raise UsageError("a scribble needs at least one point")
        for x, y in places:
            if not (0 <= x < width and 0 <= y < height):
                raise UsageError(f"the {kind} {x:g},{y:g} is outside the {width}x{height} frame; pixels count from 0")
        state = self._states(object)[-1]
        if not positive and not state.points and state.box is None and state.given is None:
            raise UsageError(f"object {object} has no mask yet; first give a positive click, a box or a mask")
        sign = 1.0 if positive else -1.0
        added = tuple((*places[i], sign) for i in evenly_spaced(len(places), _STROKE_POINTS))
        return self._prompt(object, replace(state, points=(*state.points, *added)))

    @torch.inference_mode()
    def _prompt(self, object: int, state: PromptState) -> Mask:
        """Compute the mask of new prompts and make it the object's current state."""
        assert self._whole is not None
        view, maps = self._whole
        found = self._look_closer(object, state, view.to_frame(self._look(view, maps, state, state.logits)))
        mask, given = found > 0, state.given
        if given is None and state.box is not None:
            mask = without_specks(mask, state.points)
        elif given is not None:
            given = mask = changed_near(given, mask, state.points[len(self._objects[object][-1].points) :])
        state = replace(state, logits=view.from_frame(found) if given is None else None, given=given, mask=mask)
        self._objects[object].append(state)
        return mask.copy()

    def _look_closer(self, object: int, state: PromptState, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (H, W) in which a crop around the object replaces `found`, if the crop shows it larger."""
        assert self._whole is not None
        view = View.around(found > 0, state.points, self._whole[0], self.net.config.close_side)
        if view is None:
            return found
        known = self._close.get(object)
        if known is None or not known[0].serves(view):
            self._close[object] = known = (view, self._features(view))
        logits = known[0].from_frame(found)
        for _ in range(_CLOSER_ROUNDS):
            logits = self._look(*known, state, logits)
        return known[0].to_frame(logits, found)

    def _look(self, view: View, maps: FrameMaps, state: PromptState, before: Tensor | None) -> Tensor:
        """Logits (1, 1, h, w) at stride 2 of a view. before: the logits of the mask so far."""
        points = view.points(state.points) or [(0.0, 0.0, 0.0)]
        values = torch.tensor(points, dtype=torch.float32, device=self.device)[None]
        box = [float("nan")] * 4 if state.box is None else view.box(state.box)
        if before is not None:
            previous = F.avg_pool2d(torch.sigmoid(before), 2)
        elif state.given is not None:
            previous = view.share(state.given).to(self.device)
        else:
            previous = values.new_full((1, 1, *maps.levels[0].shape[-2:]), -1.0)
        prompts = Prompts(values[..., :2], values[..., 2], values.new_tensor([box]), previous)
        return self.net(maps, prompts)

    @torch.inference_mode()
    def _features(self, view: View) -> FrameMaps:
        frame = torch.from_numpy(view.cut(self._frame())).to(self.device).permute(2, 0, 1)[None].float()
        frame = view.pad(normalise(frame, self.net.config.pixel_mean, self.net.config.pixel_std))
        return self.net.features(frame.contiguous(memory_format=torch.channels_last))

    def _frame(self) -> NDArray[np.uint8]:
        if self._image is None:
            raise UsageError("there is no frame yet; call `set_frame` first")
        return self._image

    def _states(self, object: int) -> list[PromptState]:
        check_object_id(object, "of a click")
        self._frame()
        return self._objects.setdefault(object, [PromptState()])
