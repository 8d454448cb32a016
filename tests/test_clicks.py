"""Masks from clicks: the `Clicker`, the simulated user, views of a frame, and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segmenter_fakes import make_model

from hodor_cli import Clicker, Segmenter
from hodor_cli.clicks.evaluation import Case, ClickScores, evaluate_clicks
from hodor_cli.clicks.network import ClickConfig, ClickNet
from hodor_cli.clicks.network_file import load_click_net, save_click_net
from hodor_cli.clicks.prompts import Prompts
from hodor_cli.clicks.shapes import changed_near
from hodor_cli.clicks.simulation import next_click
from hodor_cli.clicks.view import View
from hodor_cli.errors import InputError, UsageError, WeightsError
from hodor_cli.records import Click
from hodor_cli.weights import weights_path

SIZE = (120, 160)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An orange and a blue disc on textured green, and their masks."""
    first, second = disc(45, 60, 25), disc(115, 60, 22)
    image = np.full((*SIZE, 3), (40, 110, 50)) + np.random.default_rng(0).integers(0, 25, (*SIZE, 3))
    image[first], image[second] = (220, 120, 20), (30, 60, 200)
    return image.astype(np.uint8), first, second


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.fixture(scope="module")
def net() -> ClickNet:
    return load_click_net()


@pytest.fixture
def clicker(net: ClickNet) -> Clicker:
    clicker = Clicker(net, device="cpu")
    clicker.set_frame(scene()[0])
    return clicker


def test_a_frame_may_be_overwritten_once_it_is_set(net: ClickNet, clicker: Clicker) -> None:
    buffer, other = scene()[0], Clicker(net, device="cpu")
    other.set_frame(buffer)
    buffer[:] = 0  # as a camera's next frame overwrites it; the closer look at a small object comes later
    assert (other.box((20, 35, 50, 50)) == clicker.box((20, 35, 50, 50))).all()


def test_one_click_finds_the_object_under_it(clicker: Clicker) -> None:
    _, first, second = scene()
    mask = clicker.click(45, 60)
    assert mask.shape == SIZE and mask.dtype == bool
    assert iou(mask, first) > 0.6 and mask[second].mean() < 0.3
    other = clicker.click(115, 60, object=2)
    assert iou(other, second) > 0.6
    assert np.array_equal(clicker.mask(1), mask) and clicker.object_ids == [1, 2]


def test_a_box_a_scribble_and_a_mask_find_it_too(clicker: Clicker) -> None:
    _, first, second = scene()
    assert iou(clicker.box((18, 33, 54, 54)), first) > 0.6
    assert iou(clicker.scribble([(100, 60), (115, 75), (115, 45), (130, 60)], object=2), second) > 0.4
    given = clicker.set_mask(first | disc(80, 20, 12), object=3)
    corrected = clicker.click(80, 20, positive=False, object=3)
    assert given[20, 80] and not corrected[20, 80] and corrected[60, 45]


def test_a_mask_from_a_box_has_no_specks_except_where_a_click_is(
    clicker: Clicker, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, speck, half = disc(45, 60, 20), disc(120, 20, 4), disc(120, 90, 15)
    logits = np.where(large | speck | half, 3.0, -3.0).astype(np.float32)
    monkeypatch.setattr(Clicker, "_look_closer", lambda *_: logits)
    assert np.array_equal(clicker.box((18, 10, 140, 110)), large | half)
    assert np.array_equal(clicker.click(20, 20, positive=False), large | half)
    assert np.array_equal(clicker.click(120, 20), large | speck | half)
    assert np.array_equal(clicker.click(45, 60, object=2), large | speck | half)  # without a box, all pieces are kept


def test_a_click_corrects_a_good_mask_locally_and_completes_a_poor_one(clicker: Clicker) -> None:
    _, first, second = scene()
    bite, apart = disc(45, 75, 8), disc(150, 8, 4)
    clicker.set_mask((first & ~bite) | apart)
    corrected = clicker.click(45, 76)
    assert corrected[76, 45] and corrected[apart].all()
    assert np.array_equal(clicker.undo(), (first & ~bite) | apart)
    clicker.set_mask(second & disc(140, 60, 14), object=2)
    assert iou(clicker.click(115, 60, object=2), second) > 0.6


def test_a_correction_changes_the_mask_only_near_the_click() -> None:
    before, grown = disc(80, 60, 40), disc(80, 60, 44)
    after = grown | disc(130, 60, 12)
    added = changed_near(before, after, [(130.0, 60.0, 1.0)])
    assert added[disc(130, 60, 11)].all() and (added & ~before & disc(60, 60, 50)).sum() == 0
    shrunk = disc(80, 60, 36) & ~disc(118, 60, 10)
    removed = changed_near(before, shrunk, [(114.0, 60.0, -1.0)])
    assert not removed[disc(114, 60, 4)].any() and removed[before & disc(40, 60, 30)].all()
    assert np.array_equal(changed_near(before, after, [(80.0, 60.0, 1.0)]), before)  # nothing changes under the click
    line = np.zeros_like(before)
    line[112:115, 130:158] = True  # apart from the object: one click removes all of it, if the network agrees
    assert np.array_equal(changed_near(before | line, before, [(132.0, 113.0, -1.0)]), before)
    kept = changed_near(before | line, before | (line & ~disc(132, 113, 4)), [(132.0, 113.0, -1.0)])
    assert kept[113, 150] and not kept[113, 132]
    other = disc(20, 20, 8)
    assert np.array_equal(changed_near(before, other, [(20.0, 20.0, 1.0)]), before | other)  # nothing else is lost
    none = np.zeros_like(before)
    assert changed_near(none, ~none, [(20.0, 20.0, 1.0)]).all()  # even if every pixel changes
    assert not changed_near(~none, none, [(20.0, 20.0, -1.0)]).any()


def test_undo_and_reset_restore_the_earlier_state(clicker: Clicker) -> None:
    first = clicker.click(45, 60)
    clicker.click(60, 70)
    assert np.array_equal(clicker.undo(), first)
    assert not clicker.undo().any() and not clicker.undo().any()
    clicker.click(45, 60, object=7)
    clicker.reset(7)
    assert clicker.object_ids == [] and not clicker.mask(7).any()


def test_an_undone_click_does_not_affect_later_ones(net: ClickNet) -> None:
    clicker = Clicker(net, device="cpu")
    clicker.set_frame(scene()[0])
    clicker.click(45, 60)
    plain = clicker.click(30, 60)
    clicker.undo()
    clicker.click(115, 60)
    clicker.undo()
    assert np.array_equal(clicker.click(30, 60), plain)


def test_a_new_frame_forgets_the_objects(clicker: Clicker) -> None:
    clicker.click(45, 60)
    clicker.set_frame(scene()[0][:, ::-1])
    assert clicker.object_ids == [] and not clicker.mask().any()


@pytest.mark.parametrize("place", [(160, 10), (10, 120), (-1, 10), (10, -0.5), (float("nan"), 5)])
def test_a_click_outside_the_frame_is_refused(clicker: Clicker, place: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="outside the 160x120 frame"):
        clicker.click(*place)
    assert clicker.object_ids == []


def test_overlapping_masks_become_a_label_map_that_a_segmenter_takes(
    clicker: Clicker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clicker.labels().dtype == np.uint16 and not clicker.labels().any()
    large, small = (clicker.click(45, 60, object=key) for key in (1, 2))
    large[:], small[:] = True, False
    small[50:70, 40:60] = True
    monkeypatch.setattr(Clicker, "mask", lambda self, object=1: (large if object == 1 else small).copy())
    labels = clicker.labels()
    assert np.array_equal(labels, np.where(small, 2, 1)) and np.array_equal(
        Segmenter(make_model("toy")).step(np.zeros((*labels.shape, 3), np.uint8), masks=labels), labels
    )


def test_pictures_and_masks_that_numpy_cannot_read_are_refused(clicker: Clicker) -> None:
    with pytest.raises(UsageError, match=r"the frame cannot be read \(.*cpu\(\)"):
        clicker.set_frame(torch.zeros(8, 8, 3, dtype=torch.uint8, device="meta"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"the mask cannot be read \(.*\); give a NumPy array"):
        clicker.set_mask([[True], [True, False]])  # type: ignore[arg-type]


def test_unusable_prompts_are_refused(clicker: Clicker, net: ClickNet) -> None:
    with pytest.raises(UsageError, match="object 1 has no mask yet; first give a positive click"):
        clicker.click(45, 60, positive=False)
    with pytest.raises(UsageError, match="has no area"):
        clicker.box((200, 10, 20, 20))
    with pytest.raises(UsageError, match=r"reaches outside the 160x120 picture; .* two corners it is 90,38,50,44"):
        clicker.box((90, 38, 140, 82))
    assert clicker.object_ids == [] and clicker.box((19.6, 34.7, 140.6, 50)).any()  # a detector's box of fractions
    with pytest.raises(UsageError, match=r"\(1, 2, 3\) is not a valid `box`"):
        clicker.box((1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"\[\('left', 4\)\] is not a valid click; give x and y in pixels"):
        clicker.click("left", 4)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is not a valid scribble"):
        clicker.scribble([(1, 2, 3)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="at least one point"):
        clicker.scribble([])
    with pytest.raises(UsageError, match="a mask of the frame's size"):
        clicker.set_mask(np.ones((4, 4), bool))
    with pytest.raises(UsageError, match="the mask is float64; give true or false"):
        clicker.set_mask(np.full((120, 160), 0.2))
    with pytest.raises(UsageError, match="`side` must be a whole number of pixels, at least 64, not -5"):
        Clicker(net, side=-5)
    Clicker(net, side=np.int64(64))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a whole number between 1 and 65535"):
        clicker.click(45, 60, object=0)
    with pytest.raises(UsageError, match="call `set_frame` first"):
        Clicker(net).click(1, 1)
    with pytest.raises(
        UsageError, match=r"a frame must be \(H, W, 3\) uint8 RGB in a NumPy array, not \(4, 4\) uint8$"
    ):
        clicker.set_frame(np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match=r"it looks like \(3, H, W\), so move the channels to the end"):
        clicker.set_frame(np.zeros((3, 4, 5), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3), (33, 47, 3), (700, 500, 3)])
def test_frames_of_any_size(net: ClickNet, shape: tuple[int, int, int]) -> None:
    clicker = Clicker(net, device="cpu")
    clicker.set_frame(np.full(shape, 90, np.uint8))
    assert clicker.click(shape[1] - 1, shape[0] - 1).shape == shape[:2]


def test_the_simulated_user_clicks_the_centre_of_the_largest_error() -> None:
    truth, mask = disc(45, 60, 25), disc(45, 60, 25) | disc(120, 40, 12)
    assert next_click(truth, np.zeros_like(truth)) == Click(45, 60, True)
    assert next_click(truth, mask) == Click(120, 40, False)
    assert next_click(truth, truth) is None
    clicked = np.zeros_like(truth)
    clicked[60, 45] = True
    again = next_click(truth, np.zeros_like(truth), clicked)
    assert again is not None and (again.x, again.y) != (45, 60)


class Worse:
    """A method that finds one more column of the object with each click."""

    def set_frame(self, image: np.ndarray) -> None:
        self.columns = 0

    def click(self, x: float, y: float, *, positive: bool = True) -> np.ndarray:
        self.columns += 1
        mask = np.zeros((10, 20), bool)
        mask[:, : self.columns] = True
        return mask


def test_scores_count_clicks_as_in_the_literature() -> None:
    truth = np.zeros((10, 20), bool)
    truth[:, :10] = True
    case = Case("one", np.zeros((10, 20, 3), np.uint8), truth)
    scores = evaluate_clicks(iter([case]), Worse())
    assert scores.mean_iou(1) == pytest.approx(0.1) and scores.mean_iou(5) == pytest.approx(0.5)
    assert scores.clicks_for(0.85) == 9 and scores.clicks_for(0.9) == 9 and scores.failures(0.9) == 0
    never = ClickScores({"a": (0.5,) * 20, "b": (0.95,) * 20})
    assert never.clicks_for(0.85) == 10.5 and never.failures(0.85) == 1


def test_a_closer_look_shows_small_objects_larger() -> None:
    whole = View.whole((480, 854), 384)
    small = np.zeros((480, 854), bool)
    small[200:260, 400:440] = True
    view = View.around(small, [(410.0, 220.0, 1.0)], whole, 256)
    assert view is not None and view.scale > 2 * whole.scale
    left, top, right, bottom = view.piece
    assert left <= 400 and top <= 200 and right >= 440 and bottom >= 260
    assert View.around(np.ones((480, 854), bool), [], whole, 256) is None
    assert view.serves(view) and not view.serves(View.of((480, 854), (0, 0, 854, 480), 256))


def test_mapping_into_a_view_and_back_keeps_places() -> None:
    view = View.of((240, 320), (40, 60, 200, 180), 256)
    logits = np.where(np.pad(np.ones((60, 60), bool), ((90, 90), (80, 180))), 5.0, -5.0).astype(np.float32)
    back = view.to_frame(view.from_frame(logits)) > 0
    assert iou(back, logits > 0) > 0.93
    kept = view.to_frame(view.from_frame(logits), np.full_like(logits, 3.0))  # pixels around the view stay
    assert (
        (kept[:60] == 3).all()
        and (kept[:, 200:] == 3).all()
        and np.array_equal(kept[60:180, 40:200] > 0, back[60:180, 40:200])
    )
    x, y, sign = view.points([(40, 60, 1.0)])[0]
    assert sign == 1 and 0 <= x <= 1 and 0 <= y <= 1


def test_files_of_click_networks(tmp_path: Path, net: ClickNet) -> None:
    save_click_net(tmp_path / "mine.safetensors", net, {})
    state = torch.get_rng_state()
    again = load_click_net(tmp_path / "mine.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    with pytest.raises(InputError, match="no weights file"):
        load_click_net(tmp_path / "none.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        load_click_net(tmp_path / "damaged.safetensors")

    with pytest.raises(WeightsError, match="not a click network"):
        load_click_net(weights_path("mini"))


def test_the_network_does_not_mix_objects() -> None:
    torch.manual_seed(0)
    net = ClickNet(ClickConfig()).eval()

    points = torch.tensor([[[20.0, 30.0]], [[50.0, 40.0]]])
    said = Prompts(points, torch.ones(2, 1), torch.full((2, 4), float("nan")), torch.full((2, 1, 16, 16), -1.0))
    with torch.inference_mode():
        maps = net.features(torch.randn(1, 3, 64, 64))
        both = net(maps.repeat(2), said)
        alone = net(maps, Prompts(*(part[1:] for part in said)))
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_the_network_sees_a_given_mask_where_it_is() -> None:
    mask = np.zeros((64, 96), bool)
    mask[:, :48] = True
    share = View.whole((64, 96), 96).share(mask)[0, 0]
    assert share.shape == (16, 24) and (share[:, :12] == 1).all() and (share[:, 12:] == 0).all()
