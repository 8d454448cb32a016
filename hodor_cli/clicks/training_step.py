"""One training step: features once, then several rounds of simulated clicks (RITM's iterative training, sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.clicks.network import ClickNet
from hodor_cli.clicks.prompts import Prompts
from hodor_cli.clicks.samples import Crop
from hodor_cli.clicks.simulation import next_click
from hodor_cli.images.label_png import box_of
from hodor_cli.runtime.preprocess import normalise

#: Most points of a training prompt.
_POINTS = 24
#: Shares of objects whose first prompt is a box, a scribble, or a wrong mask to correct; the others start with a click.
_BOX, _SCRIBBLE, _WRONG = 0.2, 0.08, 0.12


class Simulation:
    """Simulated prompts for N objects; `add_clicks` adds a click for each, given the masks.

    truths: (N, S, S) bool. rngs: one for each object, so that its prompts do not depend on the others.
    """

    def __init__(self, truths: NDArray[np.bool_], rngs: Sequence[np.random.Generator]) -> None:
        self.truths, self._rngs = truths, rngs
        count, side = truths.shape[:2]
        self._points = np.zeros((count, _POINTS, 2), dtype=np.float32)
        self._signs = np.zeros((count, _POINTS), dtype=np.float32)
        self._boxes = np.full((count, 4), np.nan, dtype=np.float32)
        self._previous = torch.full((count, 1, side // 4, side // 4), -1.0)
        for i in range(count):
            self._begin(i)

    def prompts(self, device: torch.device) -> Prompts:
        """The prompts so far, on a device."""
        points, signs, boxes = (torch.from_numpy(a.copy()) for a in (self._points, self._signs, self._boxes))
        return Prompts(*(part.to(device) for part in (points, signs, boxes, self._previous)))

    def add_clicks(self, logits: Tensor) -> None:
        """Add each object's next click, given the logits (N, 1, S/2, S/2) of the masks so far."""
        found = logits.detach().float().cpu()
        side = self.truths.shape[-1]
        masks = F.interpolate(found, size=(side, side), mode="bilinear", align_corners=False)[:, 0].numpy() > 0
        self._previous = F.avg_pool2d(torch.sigmoid(found), 2)
        for i, mask in enumerate(masks):
            self._click(i, mask)

    def _begin(self, i: int) -> None:
        truth, rng = self.truths[i], self._rngs[i]
        kind = rng.random()
        if kind < _BOX:
            self._boxes[i] = _loose_box(truth, rng)
        elif kind < _BOX + _WRONG:
            wrong = _wrong(truth, rng)
            self._previous[i] = F.avg_pool2d(torch.from_numpy(wrong)[None].float(), 4)
            self._click(i, wrong)
        elif kind < _BOX + _WRONG + _SCRIBBLE:
            for x, y in _stroke(truth, rng):
                self._add(i, x, y, 1.0)
        else:
            self._click(i, np.zeros_like(truth))

    def _click(self, i: int, mask: NDArray[np.bool_]) -> None:
        rng = self._rngs[i]
        exact = rng.random() < 0.5
        click = next_click(self.truths[i], mask, rng=None if exact else rng)
        if click is not None:
            self._add(i, click.x, click.y, 1.0 if click.positive else -1.0)

    def _add(self, i: int, x: int, y: int, sign: float) -> None:
        place = np.count_nonzero(self._signs[i])
        if place < _POINTS:
            self._points[i, place], self._signs[i, place] = (x, y), sign


def batch(crops: Sequence[Crop], net: ClickNet) -> tuple[Tensor, NDArray[np.bool_]]:
    """The crops' normalised frames (B, 3, S, S) and masks (B * K, S, S)."""
    frames = torch.from_numpy(np.stack([crop.image for crop in crops])).permute(0, 3, 1, 2).float()
    frames = normalise(frames, net.config.pixel_mean, net.config.pixel_std)
    return frames.contiguous(memory_format=torch.channels_last), np.concatenate([crop.masks for crop in crops])


def losses(net: ClickNet, frames: Tensor, simulation: Simulation, *, before: int, rounds: int) -> tuple[Tensor, Tensor]:
    """The mean loss over all rounds, and the mean IoU after each (rounds,).

    frames: (B, 3, S, S). simulation: with the same number of objects for each frame. before: number of earlier clicks
    that do not contribute.
    """
    truths = simulation.truths
    maps = net.features(frames).repeat(len(truths) // len(frames))
    with torch.no_grad():
        for _ in range(before):
            simulation.add_clicks(net(maps, simulation.prompts(frames.device)))
    target = F.avg_pool2d(torch.from_numpy(truths)[:, None].float(), 2).to(frames.device)
    total, scores = frames.new_zeros(()), []
    for turn in range(rounds):
        logits = net(maps, simulation.prompts(frames.device))
        total = total + _loss(logits, target)
        scores.append(_iou(logits, target))
        if turn + 1 < rounds:
            simulation.add_clicks(logits)
    return total / rounds, torch.stack(scores)


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus soft Jaccard loss, averaged over objects."""
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    p = torch.sigmoid(logits)
    both = (p * target).sum((1, 2, 3))
    either = (p + target - p * target).sum((1, 2, 3))
    return entropy + (1 - (both + 1) / (either + 1)).mean()


@torch.no_grad()
def _iou(logits: Tensor, target: Tensor) -> Tensor:
    mask, truth = logits > 0, target > 0.5
    both, either = (mask & truth).sum((1, 2, 3)), (mask | truth).sum((1, 2, 3))
    return (both / either.clamp(min=1)).mean()


def _loose_box(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """The object's box as drawn by hand: each edge is off by up to a tenth of the side, mostly outwards."""
    found = box_of(truth)
    assert found is not None  # every crop shows its object
    x, y, width, height = found
    box = np.array([x, y, x + width - 1, y + height - 1], dtype=np.float32)
    sides = np.array([box[2] - box[0], box[3] - box[1]] * 2) + 1
    off = rng.uniform(-0.03, 0.1, 4) * sides * np.array([-1, -1, 1, 1])
    return np.clip(box + off, 0, np.array([truth.shape[1], truth.shape[0]] * 2) - 1).astype(np.float32)


def _wrong(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask with the errors of tracking: grown or shrunk, shifted, with a piece removed or added."""
    size = 2 * int(rng.integers(1, 6)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    out = np.roll(change(truth.astype(np.uint8), kernel), tuple(rng.integers(-6, 7, 2).tolist()), axis=(0, 1))
    inside = np.argwhere(truth)
    y, x = inside[int(rng.integers(len(inside)))].tolist()
    radius = int(rng.uniform(0.1, 0.35) * np.sqrt(len(inside)) + 2)
    shift = rng.integers(-2 * radius, 2 * radius + 1, 2).tolist()
    if rng.random() < 0.5:
        cv2.circle(out, (x, y), radius, 0, thickness=-1)
    else:
        cv2.circle(out, (x + shift[0], y + shift[1]), radius, 1, thickness=-1)
    return np.asarray(out, dtype=bool)


def _stroke(truth: NDArray[np.bool_], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Points of a scribble: the part inside the object of a line between two of its pixels."""
    inside = np.argwhere(truth)
    (y0, x0), (y1, x1) = inside[rng.integers(len(inside), size=2)].tolist()
    steps = np.linspace(0, 1, _POINTS // 2)
    points = [(round(x0 + (x1 - x0) * t), round(y0 + (y1 - y0) * t)) for t in steps]
    return [(x, y) for x, y in points if truth[y, x]]
