"""Where an object is, in its descriptor: measured on the mask, read by the decoder, forgotten in other videos."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hodor_cli.engine import Segmenter
from hodor_cli.model import build_model
from hodor_cli.model.place import Place, places_of
from hodor_cli.model.region import Region
from hodor_cli.presets import preset

HEIGHT, WIDTH = 24, 32
WHOLE = Region.all_of(HEIGHT, WIDTH)


def _masks() -> torch.Tensor:
    """Two objects (1, 2, 24, 32): a small one at the left, a wide one at the bottom right."""
    masks = torch.zeros(1, 2, HEIGHT, WIDTH)
    masks[0, 0, 4:8, 2:6], masks[0, 1, 16:22, 14:30] = 0.9, 0.8
    return masks


def _placed() -> tuple[Place, torch.Tensor]:
    torch.manual_seed(0)
    place = Place(16).eval()
    place.directions.copy_(torch.linalg.qr(torch.randn(16, 4))[0].T)
    return place, place.write(torch.randn(1, 2, 16), _masks())


def test_a_place_is_the_mean_and_spread_of_the_mask_in_shares_of_the_frame() -> None:
    small, wide = places_of(_masks() + 0.05)[0]  # what is unlikely everywhere counts nowhere
    torch.testing.assert_close(small[:2], torch.tensor([6 / HEIGHT, 4 / WIDTH]), atol=1e-3, rtol=0)
    torch.testing.assert_close(wide[:2], torch.tensor([19 / HEIGHT, 22 / WIDTH]), atol=1e-3, rtol=0)
    assert small[3] < wide[3] == pytest.approx(16 / WIDTH / 12**0.5, rel=0.01)
    faint = places_of(0.001 * _masks())[0]  # an object that is likely nowhere still has a likeliest place
    torch.testing.assert_close(faint[0], small, atol=2e-3, rtol=0)


def test_the_decoder_prefers_pixels_near_the_place_that_the_descriptor_says() -> None:
    place, descriptors = _placed()
    bias = place.bias(descriptors, WHOLE)[0]
    masks = _masks()[0] > 0.5
    for index in range(2):
        inside, outside = bias[index][masks[index]], bias[index][masks[1 - index]]
        assert inside.mean() > 0 and inside.min() > outside.max()
        assert bias[index].min() == -8.0  # farther than far is no farther


def test_what_an_object_carries_is_not_taken_for_the_object() -> None:
    place, _ = _placed()
    masks = torch.zeros(1, 2, HEIGHT, WIDTH)  # a child and its rucksack
    masks[0, 0, 2:22, 10:20], masks[0, 1, 8:11, 14:17] = 0.9, 0.9
    child, rucksack = place.bias(place.write(torch.randn(1, 2, 16), masks), WHOLE)[0]
    assert (rucksack > child)[8:11, 14:17].all()
    assert (child > rucksack)[2:5, 10:20].all() and (child > rucksack)[15:22, 10:20].all()


def test_a_part_of_a_frame_reads_the_same_place_and_the_cue_lets_it_count_less() -> None:
    place, descriptors = _placed()
    part = Region(slice(4, 20), slice(8, 16), (HEIGHT, WIDTH))
    whole = place.bias(descriptors, WHOLE)
    torch.testing.assert_close(place.bias(descriptors, part), part.of(whole))
    beside = place.bias(descriptors, WHOLE, beside_cue=True)
    assert (beside.abs() < whole.abs()).all()


def test_any_map_reads_the_same_place() -> None:
    place, descriptors = _placed()
    fine = place.bias(descriptors, Region.all_of(3 * HEIGHT, 3 * WIDTH))
    coarse = place.bias(descriptors, WHOLE)
    torch.testing.assert_close(fine[..., 1::3, 1::3], coarse, atol=1e-3, rtol=1e-3)


def test_a_forgotten_place_prefers_no_pixel_and_leaves_the_rest_of_the_descriptor() -> None:
    place, descriptors = _placed()
    forgotten = place.forget(descriptors)
    bias = place.bias(forgotten, WHOLE)
    assert bias.max() - bias.min() < 0.1
    other = torch.eye(16) - place.directions.T @ place.directions
    torch.testing.assert_close(forgotten @ other, descriptors @ other, atol=1e-5, rtol=1e-5)


def test_objects_known_by_descriptors_of_another_video_are_looked_for_everywhere() -> None:
    torch.manual_seed(0)
    model = build_model(preset("toy"))
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    found = []
    for corner in (slice(0, 16), slice(48, 64)):
        mask[:] = False
        mask[corner, corner] = True
        first = Segmenter(model)
        first.step(frame, {1: mask})
        vector = first.descriptors().objects[1]
        place = model.encoder.place
        assert place is not None
        second = Segmenter(model)
        second.start_from({1: vector})
        entry = second._known.ring.pinned[0]
        found.append(place.bias(entry.objects, Region.all_of(16, 16)))
    torch.testing.assert_close(*found)
    assert found[0].max() - found[0].min() < 0.1
