"""Recognises stray pieces: parts of an object's mask that belong to another object, or to none.

When objects that look alike cross, one may take a part of the other, such as the trousers of another child, and keep it
from then on. Such a piece lies apart from the rest of its object, and matching with the frames in which masks were
given points to the object beside it there, or hardly to its own. A true piece, such as the part of a bus on the other
side of a tree, lies apart, too, but looks like what its given mask shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.model.matching import FAR
from hodor_cli.model.types import Cue

#: A piece is stray if what its object's given masks carry to it is, on average, below this, and below this share of
#: what they carry to the largest piece.
_ALIKE, _SHARE = 0.1, 0.5
#: Pieces of fewer cells are left alone.
_LEAST = 3
#: An object that is this close (in cells of stride 8) to the largest piece may hide what connects it to the others, so
#: it does not get them.
_BESIDE = 2


def without_strays(logits: Tensor, cue: Cue, given: Sequence[bool]) -> Tensor:
    """Logits (1, 10 + I, 2h, 2w) with stray pieces given to the object that they touch and look like, or to none.

    cue: the frame's. given: whether each of the I objects has a mask in a stored reference frame; others keep all their
    pieces. The largest piece of an object is never stray.
    """
    if len(given) < 2:  # a single object gains nothing by losing pieces
        return logits
    likeliest = logits[0, NUM_NON_OBJECT:] == logits[0].amax(dim=0)
    cells = F.max_pool2d(likeliest.float(), 2).cpu().numpy() > 0  # (I, h, w)
    carried = cue.of_given[0].float().cpu().numpy()
    strays: list[tuple[int, int | None, NDArray[np.bool_]]] = []
    for row in (row for row, known in enumerate(given) if known):
        pieces = _pieces(cells[row])
        for piece in (one for one in pieces[1:] if one.sum() >= _LEAST):
            means = np.where(given, carried[:, piece].mean(axis=1), 0)
            best = int(means.argmax())
            touches_only = _touch(cells[best], piece, 1) and not _touch(cells[best], pieces[0], _BESIDE)
            if touches_only and means[best] > means[row]:
                strays.append((row, best, piece))
            elif means[row] < min(_ALIKE, _SHARE * carried[row, pieces[0]].mean()):
                strays.append((row, None, piece))
    if not strays:
        return logits
    logits = logits.clone()
    for row, owner, piece in strays:
        pixels = torch.from_numpy(piece.repeat(2, axis=0).repeat(2, axis=1)).to(logits.device)
        channel = logits[0, NUM_NON_OBJECT + row]
        if owner is not None:
            taker = logits[0, NUM_NON_OBJECT + owner]
            taker[pixels] = torch.maximum(taker, channel)[pixels]
        channel[pixels] -= FAR
    return logits


def _pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The connected pieces of a mask (h, w), the largest first."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel())[1:]  # label 0 is the background
    return [labels == label for label in np.argsort(-sizes, kind="stable") + 1]


def _touch(mask: NDArray[np.bool_], other: NDArray[np.bool_], cells: int) -> bool:
    """Whether two masks (h, w) are at most this many cells apart."""
    side = 2 * cells + 1
    return bool((mask & (cv2.dilate(other.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)).any())
