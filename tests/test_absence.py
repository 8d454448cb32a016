"""An object that is not in the frame is lost, and nothing else takes its mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine import Segmenter
from hodor_cli.engine.absence import without_absent
from hodor_cli.model.types import Cue
from hodor_cli.weights import load_model

HEIGHT, WIDTH = 160, 240
GONE = range(8, 12)


def scene(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame and the mask of its red square, which leaves for a while; a red disc stays."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.stack([60 + rows % 40, 110 + columns % 50, 90 + (rows + columns) % 60], -1).astype(np.uint8)
    frame[(rows - 50) ** 2 + (columns - 190) ** 2 < 22**2] = (200, 40, 30)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    if index not in GONE:
        left = 60 - 2 * index
        mask[90:130, left : left + 40] = 1
        frame[mask == 1] = (200, 40, 30)
    return frame, mask


def test_what_looks_alike_does_not_become_an_object_that_is_gone() -> None:
    segmenter = Segmenter(load_model("mini"), precision="fp32", min_dim=HEIGHT)
    segmenter.step(*scene(0))
    for index in range(1, 16):
        frame, mask = scene(index)
        found = segmenter.step(frame)
        assert segmenter.last.objects[1].lost == (index in GONE)
        assert (found == mask).mean() > 0.99


def one(share: float) -> torch.Tensor:
    """A map (1, 1, 4, 4) with this value in its left half."""
    values = torch.zeros(1, 1, 4, 4)
    values[..., :2] = share
    return values


@pytest.mark.parametrize(
    ("sure", "continued", "alike", "given", "kept"),
    [
        (0.7, 0.0, 0.0, True, False),
        (0.97, 0.0, 0.0, True, True),
        (0.7, 0.8, 0.0, True, True),
        (0.7, 0.0, 0.8, True, True),
        (0.7, 0.0, 0.0, False, True),
    ],
)
def test_an_object_is_absent_only_if_all_signs_say_so(
    sure: float, continued: float, alike: float, given: bool, kept: bool
) -> None:
    odds = float(np.log(sure / (1 - sure)))
    logits = torch.full((1, NUM_NON_OBJECT + 2, 8, 8), -20.0)
    logits[:, 0] = 0.0
    logits[:, NUM_NON_OBJECT, :, :4] = odds
    logits[:, NUM_NON_OBJECT + 1, :, 6:] = 20.0  # another object, of which all are sure
    both = torch.cat((one(continued), torch.zeros(1, 1, 4, 4)), dim=1)
    carried = torch.cat((one(alike), torch.zeros(1, 1, 4, 4)), dim=1)
    # What a recent frame says of it does not count: the object may have been mistaken there already.
    cue = Cue(both, torch.ones_like(carried), given=carried)
    found = without_absent(logits, cue, [given, True]).softmax(dim=1)[0, NUM_NON_OBJECT:] > 0.5
    assert found[0].any() == kept and found[1, :, 6:].all()
