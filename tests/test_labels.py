"""Label maps: only where objects may be is looked at, and the result is that of resizing everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.labels import label_map, label_map_of_logits
from hodor_cli.runtime.preprocess import Geometry, four_times, resize


def probabilities(geometry: Geometry, places: list[tuple[int, int]]) -> torch.Tensor:
    """Background cells everywhere, and an object around each place (row, column at the scaled size)."""
    generator = torch.Generator().manual_seed(0)
    height, width = geometry.padded
    logits = F.interpolate(
        torch.randn(1, NUM_NON_OBJECT + len(places), 6, 8, generator=generator), size=(height, width), mode="bilinear"
    )
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for number, (row, column) in enumerate(places):
        logits[0, NUM_NON_OBJECT + number] += 6 - ((y - row) ** 2 + (x - column) ** 2).sqrt()
    return logits.softmax(dim=1)


@pytest.mark.parametrize("size", [(96, 128), (180, 241), (60, 75), (96, 127)])
@pytest.mark.parametrize("places", [[(20, 30)], [(0, 0), (90, 120)], [(-900, -900)], [(40, 60), (44, 66), (5, 100)]])
def test_labels_are_those_of_all_channels_resized(size: tuple[int, int], places: list[tuple[int, int]]) -> None:
    geometry = Geometry.of(*size, min_dim=96, max_dim=128)
    values = probabilities(geometry, places)
    ids = [7 * (i + 1) for i in range(len(places))]
    labels, confidence = label_map(values, geometry, ids)
    cut = values[..., : geometry.scaled[0], : geometry.scaled[1]]
    full = F.interpolate(cut, size=size, mode="bilinear", align_corners=False)[0]
    wanted = np.array([0] * NUM_NON_OBJECT + ids)[full.argmax(dim=0).numpy()]
    assert labels.dtype == np.uint16 and np.array_equal(labels, wanted)
    for number, key in enumerate(ids):
        inside = torch.from_numpy(wanted == key)
        mean = full[NUM_NON_OBJECT + number][inside].mean().item() if inside.any() else 0.0
        assert confidence[key] == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("size", [(96, 128), (180, 241), (60, 75)])
@pytest.mark.parametrize("objects", [1, 12])
def test_labels_of_logits_are_those_of_all_logits_resized(size: tuple[int, int], objects: int) -> None:
    geometry = Geometry.of(*size, min_dim=96, max_dim=128)
    generator = torch.Generator().manual_seed(objects)
    cells = (geometry.padded[0] // 4, geometry.padded[1] // 4)
    logits = torch.randn(1, NUM_NON_OBJECT + objects, *cells, generator=generator)
    y, x = torch.arange(cells[0])[:, None], torch.arange(cells[1])
    for number in range(objects):
        row, column = 9 + 5 * (number % 3), 12 + 5 * (number // 3)
        logits[0, NUM_NON_OBJECT + number] += 8 - 3 * ((y - row) ** 2 + (x - column) ** 2).sqrt()
    ids = list(range(3, 3 + objects))
    whole = F.interpolate(logits, size=geometry.padded, mode="bilinear").softmax(dim=1)
    wanted, certain = label_map(whole, geometry, ids)
    labels, confidence = label_map_of_logits(logits, geometry, ids)
    assert np.array_equal(labels, wanted) and wanted.any()
    assert confidence == pytest.approx(certain, abs=1e-5)
    nothing, _ = label_map_of_logits(logits - 99 * (torch.arange(logits.shape[1]) > 9)[:, None, None], geometry, ids)
    assert nothing.shape == size and not nothing.any()


@pytest.mark.parametrize("turned", [False, True])
def test_an_object_between_cells_of_two_backgrounds_is_not_overlooked(turned: bool) -> None:
    geometry = Geometry.of(96, 128, min_dim=96, max_dim=128)
    logits = torch.zeros(1, NUM_NON_OBJECT + 1, 24, 32)
    logits[:, :NUM_NON_OBJECT] = -30
    lines = logits.transpose(2, 3) if turned else logits
    lines[0, 1, :, ::2], lines[0, 2, :, 1::2] = 10, 10  # in every cell one of them is certain
    wanted, _ = label_map(F.interpolate(logits, size=(96, 128), mode="bilinear").softmax(dim=1), geometry, [5])
    labels, _ = label_map_of_logits(logits, geometry, [5])
    assert (wanted == 5).any() and np.array_equal(labels, wanted)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 9)])
def test_four_times_the_size_is_what_resizing_gives(size: tuple[int, int]) -> None:
    maps = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(four_times(maps), resize(maps, (4 * size[0], 4 * size[1])))
