"""Views of a frame: the whole frame or a piece of it, resized for the network, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.images.label_png import box_of
from hodor_cli.runtime.preprocess import STRIDE

#: A closer look shows the object's box with a margin of _AROUND times its longer side. It is computed again when the
#: margin of the current box falls below _TIGHT, or the box fills less than _LOOSE of the look.
_AROUND, _TIGHT, _LOOSE = 0.4, 0.08, 0.35
#: The least factor by which a closer look must enlarge the object to be worth its time.
_GAIN = 1.3
#: The least side of a closer look, in pixels of the frame.
_LEAST_SIDE = 48


@dataclass(frozen=True)
class View:
    """The piece left, top, right, bottom of a frame of `frame` = (height, width), scaled to `scaled` = (h, w)."""

    frame: tuple[int, int]
    piece: tuple[int, int, int, int]
    scaled: tuple[int, int]

    @staticmethod
    def of(frame: tuple[int, int], piece: tuple[int, int, int, int], side: int) -> View:
        """The view of a piece with its longer side scaled to `side`."""
        height, width = piece[3] - piece[1], piece[2] - piece[0]
        scale = side / max(height, width)
        return View(frame, piece, (max(1, round(height * scale)), max(1, round(width * scale))))

    @staticmethod
    def whole(frame: tuple[int, int], side: int) -> View:
        return View.of(frame, (0, 0, frame[1], frame[0]), side)

    @staticmethod
    def around(
        mask: NDArray[np.bool_], points: Sequence[tuple[float, float, float]], whole: View, side: int
    ) -> View | None:
        """A closer look at the object of a mask (H, W) and the clicks on it; None if it would hardly be enlarged."""
        box = box_of(mask)
        if box is None:
            return None
        on = [(x, y) for x, y, sign in points if sign > 0]
        left, right = min([box[0], *(x for x, _ in on)]), max([box[0] + box[2], *(x for x, _ in on)])
        top, bottom = min([box[1], *(y for _, y in on)]), max([box[1] + box[3], *(y for _, y in on)])
        height, width = bottom - top, right - left
        pad = max(_AROUND * max(height, width) / 2, (_LEAST_SIDE - max(height, width)) / 2)
        piece = (
            int(max(0, left - pad)), int(max(0, top - pad)),
            int(min(mask.shape[1], right + pad + 1)), int(min(mask.shape[0], bottom + pad + 1)),
        )  # fmt: skip
        view = View.of(whole.frame, piece, side)
        return view if view.scale > _GAIN * whole.scale else None

    @property
    def scale(self) -> float:
        """Pixels of the view per pixel of the frame."""
        return self.scaled[1] / (self.piece[2] - self.piece[0])

    def serves(self, wanted: View) -> bool:
        """Whether this look can be used instead of `wanted`: it shows the whole object, large enough."""
        mine, other = self.piece, wanted.piece
        slack = (_AROUND / 2 - _TIGHT) * max(other[2] - other[0], other[3] - other[1]) / (1 + _AROUND)
        shown = (
            mine[0] <= max(0, other[0] + slack) and mine[1] <= max(0, other[1] + slack)
            and mine[2] >= min(self.frame[1], other[2] - slack) and mine[3] >= min(self.frame[0], other[3] - slack)
        )  # fmt: skip
        return shown and max(other[2] - other[0], other[3] - other[1]) >= _LOOSE * (1 + _AROUND) * max(
            mine[2] - mine[0], mine[3] - mine[1]
        )

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the view out of a frame (H, W, 3): (h, w, 3) uint8."""
        left, top, right, bottom = self.piece
        way = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image[top:bottom, left:right], self.scaled[::-1], interpolation=way), np.uint8)

    def pad(self, frames: Tensor, value: float = 0.0) -> Tensor:
        """Pad at the right and the bottom to sides that are multiples of 32."""
        return F.pad(frames, (0, -self.scaled[1] % STRIDE, 0, -self.scaled[0] % STRIDE), value=value)

    def points(self, points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
        """Points (x, y, sign) of the frame in pixels of the view."""
        left, top = self.piece[:2]
        return [((x + 0.5 - left) * self.scale - 0.5, (y + 0.5 - top) * self.scale - 0.5, s) for x, y, s in points]

    def box(self, box: tuple[float, float, float, float]) -> list[float]:
        """A box (x, y, width, height) of the frame as left, top, right, bottom in pixels of the view."""
        x, y, width, height = box
        corners = self.points([(x, y, 0.0), (x + width - 1, y + height - 1, 0.0)])
        return [*corners[0][:2], *corners[1][:2]]

    def share(self, mask: NDArray[np.bool_]) -> Tensor:
        """A mask (H, W) of the frame as the share that it covers of the view's cells at stride 4, (1, 1, h, w)."""
        left, top, right, bottom = self.piece
        soft = torch.from_numpy(mask[top:bottom, left:right].astype(np.float32))[None, None]
        soft = F.interpolate(soft, size=self.scaled, mode="bilinear", align_corners=False, antialias=self.scale < 1)
        return F.avg_pool2d(self.pad(soft), 4)

    def from_frame(self, logits: NDArray[np.float32]) -> Tensor:
        """Logits (H, W) of the frame, resized to stride 2 of the view, (1, 1, h, w); far below 0 in the padding."""
        left, top, right, bottom = self.piece
        cut = torch.from_numpy(np.ascontiguousarray(logits[top:bottom, left:right]))[None, None]
        cut = F.interpolate(cut, size=self.scaled, mode="bilinear", align_corners=False)
        return F.avg_pool2d(self.pad(cut, -10.0), 2)

    def to_frame(self, logits: Tensor, frame: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Logits (1, 1, h, w) at stride 2 of the view, resized to the frame (H, W). frame: logits (H, W) to keep
        outside the view; without them, the result is far below 0 there."""
        left, top, right, bottom = self.piece
        fine = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
        fine = fine[: self.scaled[0], : self.scaled[1]]
        size = (right - left, bottom - top)
        out = np.full(self.frame, -20.0, dtype=np.float32) if frame is None else frame.copy()
        out[top:bottom, left:right] = cv2.resize(fine.cpu().numpy(), size, interpolation=cv2.INTER_LINEAR)
        return out
