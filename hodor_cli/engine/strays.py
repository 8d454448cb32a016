"""Recognises stray pieces: parts of an object's mask that belong to another object, or to none.

When objects that look alike cross, one may take a part of the other, such as the trousers of another child, and keep it
from then on. Such a piece lies apart from the rest of its object or hangs on it by a narrow bridge, and matching with
the frames in which masks were given points to the object beside it there, or hardly to its own. A true piece, such as
the part of a bus on the other side of a tree, lies apart, too, but looks like what its given mask shows.

A single object may take a part of something unmarked: a ball that touches a foot keeps the shoe.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.motion import pixels_of
from hodor_cli.model.matching import FAR
from hodor_cli.model.types import Cue

#: A piece apart is stray if what its object's given masks carry to it is, on average, below this, and below this share
#: of what they carry to the largest piece.
_ALIKE, _SHARE = 0.1, 0.5
#: Pieces apart of fewer cells are left alone, and attached pieces.
_LEAST, _LEAST_ATTACHED = 3, 10
#: An object that is this close (in cells of stride 8) to the largest piece may hide what connects it to the others, so
#: it does not get them.
_BESIDE = 2
#: In each cell of an attached piece, this much more is carried for the other object than for its own; on average, this
#: much more.
_MORE, _MORE_ON_AVERAGE = 0.1, 0.2
#: At most this share of the cells around an attached piece belongs to its object.
_BRIDGE = 0.25
#: To the rest of its object, at least this much is carried: otherwise the object may have changed, and the piece, too.
_REST = 0.4


class _Stray(NamedTuple):
    """A piece (h, w) of the mask in row `row` that belongs to the object in row `owner`, or to none."""

    row: int
    owner: int | None
    piece: NDArray[np.bool_]


def without_strays(logits: Tensor, cue: Cue, given: Sequence[bool]) -> Tensor:
    """Logits (1, 10 + I, 2h, 2w) with stray pieces given to the object that they touch and look like, or to none.

    cue: the frame's. given: whether each of the I objects has a mask in a stored reference frame; others keep all their
    pieces. The largest piece of an object is never stray, nor is more than half of it.
    """
    likeliest = (logits[0, NUM_NON_OBJECT:] == logits[0].amax(dim=0)).float()
    cells = F.max_pool2d(likeliest, 2).cpu().numpy() > 0  # (I, h, w)
    inner = F.avg_pool2d(likeliest, 2).cpu().numpy() > 0.5
    carried = np.where(np.array(given)[:, None, None], cue.of_given[0].float().cpu().numpy(), 0)
    strays = [
        stray
        for row in (row for row, known in enumerate(given) if known)
        for stray in (*_apart(row, cells, carried), *_attached(row, inner[row], cells, carried))
    ]
    if not strays:
        return logits
    logits = logits.clone()
    for row, owner, piece in strays:
        pixels = torch.from_numpy(pixels_of(piece)).to(logits.device)
        channel = logits[0, NUM_NON_OBJECT + row]
        if owner is not None:
            taker = logits[0, NUM_NON_OBJECT + owner]
            taker[pixels] = torch.maximum(taker, channel)[pixels]
        channel[pixels] -= FAR
    return logits


def _apart(row: int, cells: NDArray[np.bool_], carried: NDArray[np.float32]) -> Iterator[_Stray]:
    """Stray pieces that lie apart from the largest piece."""
    largest, *others = _pieces(cells[row]) or [cells[row]]
    # What hides a part of a single object is unmarked, so pieces close to each other may belong together.
    close = math.isqrt(2 * int(cells[row].sum())) if len(cells) == 1 else 0
    for piece in (one for one in others if one.sum() >= _LEAST):
        means = carried[:, piece].mean(axis=1)
        best = int(means.argmax())
        touches_only = _touch(cells[best], piece, 1) and not _touch(cells[best], largest, _BESIDE)
        if touches_only and means[best] > means[row]:
            yield _Stray(row, best, piece)
        elif means[row] < min(_ALIKE, _SHARE * carried[row, largest].mean()) and not _touch(largest, piece, close):
            yield _Stray(row, None, piece)


def _attached(
    row: int, mask: NDArray[np.bool_], cells: NDArray[np.bool_], carried: NDArray[np.float32]
) -> Iterator[_Stray]:
    """Stray pieces that hang on the rest of their object by a narrow bridge at most."""
    for owner in (other for other in range(len(cells)) if other != row):
        more = carried[owner] - carried[row]
        alike = mask & (more > _MORE)
        if alike.sum() < _LEAST_ATTACHED:
            continue
        for piece in _pieces(alike):
            if not _LEAST_ATTACHED <= piece.sum() <= mask.sum() / 2 or more[piece].mean() < _MORE_ON_AVERAGE:
                continue
            around, rest = _grown(piece, 1) & ~piece, mask & ~piece
            narrow = (around & mask).sum() < _BRIDGE * around.sum()
            if narrow and (around & cells[owner]).any() and carried[row, rest].mean() >= _REST:
                yield _Stray(row, owner, piece)


def _pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The connected pieces of a mask (h, w), the largest first."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel())[1:]  # label 0 is the background
    return [labels == label for label in np.argsort(-sizes, kind="stable") + 1]


def _touch(mask: NDArray[np.bool_], other: NDArray[np.bool_], cells: int) -> bool:
    """Whether two masks (h, w) are at most this many cells apart."""
    return bool((mask & _grown(other, cells)).any())


def _grown(mask: NDArray[np.bool_], cells: int) -> NDArray[np.bool_]:
    """A mask (h, w), grown by this many cells."""
    side = 2 * cells + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
