"""Label maps: only outlines are upsampled, and the result is that of upsampling everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.labels import label_map
from hodor_cli.runtime.preprocess import Geometry


def upsampled(logits: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """The probability (C, h, w) of each channel at the network's input's size, computed everywhere."""
    whole = F.interpolate(logits, size=geometry.padded, mode="bilinear").softmax(dim=1)
    return whole[0, :, : geometry.scaled[0], : geometry.scaled[1]]


def resized(logits: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """The same at the frame's size, (C, H, W)."""
    return F.interpolate(upsampled(logits, geometry)[None], size=geometry.original, mode="bilinear")[0]


def mean_inside(probabilities: torch.Tensor, channel: int) -> float:
    """The mean probability of a channel where it is the highest, 0 where it is nowhere."""
    inside = probabilities.argmax(dim=0) == channel
    return probabilities[channel][inside].mean().item() if inside.any() else 0.0


def smooth_logits(geometry: Geometry, places: list[tuple[int, int]]) -> torch.Tensor:
    """Background cells everywhere, and an object around each place (row, column at stride 4)."""
    generator = torch.Generator().manual_seed(0)
    height, width = (side // 4 for side in geometry.padded)
    coarse = torch.randn(1, NUM_NON_OBJECT + len(places), 6, 8, generator=generator)
    logits = F.interpolate(coarse, size=(height, width), mode="bilinear")
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for number, (row, column) in enumerate(places):
        logits[0, NUM_NON_OBJECT + number] += 6 - ((y - row) ** 2 + (x - column) ** 2).sqrt()
    return logits


def rough_logits(geometry: Geometry, objects: int) -> torch.Tensor:
    """Independent noise in each cell, and objects side by side."""
    generator = torch.Generator().manual_seed(objects)
    height, width = (side // 4 for side in geometry.padded)
    logits = torch.randn(1, NUM_NON_OBJECT + objects, height, width, generator=generator)
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for number in range(objects):
        row, column = 9 + 5 * (number % 3), 12 + 5 * (number // 3)
        logits[0, NUM_NON_OBJECT + number] += 8 - 3 * ((y - row) ** 2 + (x - column) ** 2).sqrt()
    return logits


@pytest.mark.parametrize("size", [(96, 128), (180, 241), (60, 75), (96, 127)])
@pytest.mark.parametrize("places", [[(5, 7)], [(0, 0), (22, 30)], [(-900, -900)], [(10, 15), (11, 16), (1, 25)]])
def test_labels_are_those_of_all_channels_resized(size: tuple[int, int], places: list[tuple[int, int]]) -> None:
    geometry = Geometry.of(*size, min_dim=96, max_dim=128)
    logits, ids = smooth_logits(geometry, places), [7 * (i + 1) for i in range(len(places))]
    labels, confidence = label_map(logits, geometry, ids)
    wanted = np.array([0] * NUM_NON_OBJECT + ids)[resized(logits, geometry).argmax(dim=0).numpy()]
    assert labels.dtype == np.uint16 and np.array_equal(labels, wanted)
    means = [mean_inside(upsampled(logits, geometry), NUM_NON_OBJECT + number) for number in range(len(ids))]
    assert list(confidence) == ids and list(confidence.values()) == pytest.approx(means, abs=0.02)


@pytest.mark.parametrize("size", [(96, 128), (180, 241), (60, 75)])
@pytest.mark.parametrize("objects", [1, 12])
def test_so_they_are_where_all_cells_differ(size: tuple[int, int], objects: int) -> None:
    geometry = Geometry.of(*size, min_dim=96, max_dim=128)
    logits, ids = rough_logits(geometry, objects), list(range(3, 3 + objects))
    wanted = np.array([0] * NUM_NON_OBJECT + ids)[resized(logits, geometry).argmax(dim=0).numpy()]
    labels, _ = label_map(logits, geometry, ids)
    assert np.array_equal(labels, wanted) and wanted.any()
    absent = logits - 99 * (torch.arange(logits.shape[1]) > 9)[:, None, None]
    nothing, confidence = label_map(absent, geometry, ids)
    assert nothing.shape == size and not nothing.any() and confidence == dict.fromkeys(ids, 0)


def test_the_highest_id_fits() -> None:
    geometry = Geometry.of(96, 128, min_dim=96, max_dim=128)
    labels, _ = label_map(smooth_logits(geometry, [(5, 7), (20, 25)]), geometry, [65535, 3])
    assert set(np.unique(labels)) == {0, 3, 65535}


def test_other_channels_take_their_share_but_never_win() -> None:
    geometry = Geometry.of(96, 128, min_dim=96, max_dim=128)
    logits = smooth_logits(geometry, [(12, 16)])
    _, alone = label_map(logits, geometry, [1])
    lower, highest = logits[:, :9].logsumexp(dim=1, keepdim=True) + 3, logits[:, 9:10]
    joined = torch.cat((lower, highest, logits[:, 10:]), dim=1)
    labels, shared = label_map(joined, geometry, [1], background=1, others=1)
    assert np.array_equal(labels, resized(joined, geometry)[1:].argmax(dim=0).numpy()) and labels.any()
    assert shared[1] == pytest.approx(mean_inside(upsampled(joined, geometry)[1:], 1), abs=0.01)
    assert shared[1] < alone[1] - 0.05


@pytest.mark.parametrize("turned", [False, True])
def test_an_object_between_cells_of_two_backgrounds_is_not_overlooked(turned: bool) -> None:
    geometry = Geometry.of(96, 128, min_dim=96, max_dim=128)
    logits = torch.zeros(1, NUM_NON_OBJECT + 1, 24, 32)
    logits[:, :NUM_NON_OBJECT] = -30
    lines = logits.transpose(2, 3) if turned else logits
    lines[0, 1, :, ::2], lines[0, 2, :, 1::2] = 10, 10  # in every cell one of them is certain
    wanted = 5 * (resized(logits, geometry).argmax(dim=0).numpy() == NUM_NON_OBJECT)
    labels, _ = label_map(logits, geometry, [5])
    assert (wanted == 5).any() and np.array_equal(labels, wanted)


def test_an_object_may_fill_the_frame() -> None:
    geometry = Geometry.of(180, 241, min_dim=96, max_dim=128)
    logits = torch.zeros(1, NUM_NON_OBJECT + 1, *(side // 4 for side in geometry.padded))
    logits[:, NUM_NON_OBJECT] = 20
    labels, confidence = label_map(logits, geometry, [5])
    assert (labels == 5).all() and confidence == {5: pytest.approx(1)}
