"""Boxes and clicks in: parsing them, and the masks that the click network makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import hodor, refused
from conftest import write_video
from PIL import Image

import hodor_cli
from hodor_cli.cli.marks import Marks
from hodor_cli.clicks.clicker import Clicker
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import write_label_png
from hodor_cli.records import Click
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.prompted_masks import masks_from_prompts
from hodor_cli.run.prompts import (
    boxes_by_frame,
    check_clicks,
    clicks_by_frame,
    read_boxes,
    read_clicks,
)
from hodor_cli.video.frames import Frame
from hodor_cli.video.source import open_source


def scene(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """An orange disk on textured green, and its true mask."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 25, (height, width, 3))
    disk = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 4) ** 2
    image = np.where(disk[..., None], (220, 120, 20), (40, 110, 50)) + noise
    return image.clip(0, 255).astype(np.uint8), disk


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def mask_from_box(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    return masks_from_prompts(image, {1: box}, {}, {})[1].mask


@pytest.mark.parametrize("scale", [1, 4])
def test_box_becomes_the_objects_mask(scale: int) -> None:
    image, disk = scene(120 * scale, 160 * scale)
    box = (45 * scale, 25 * scale, 70 * scale, 70 * scale)
    mask = mask_from_box(image, box)
    assert mask.shape == disk.shape and mask.dtype == bool
    assert iou(mask, disk) > 0.7
    outside = mask.copy()
    outside[25 * scale : 95 * scale, 45 * scale : 115 * scale] = False
    assert not outside.any()
    assert np.array_equal(mask, mask_from_box(image, box))


def test_clicks_correct_a_box_and_a_mask() -> None:
    image, disk = scene()
    boxed = masks_from_prompts(image, {1: (45, 25, 70, 70)}, {1: (Click(80, 60),)}, {})[1].mask
    assert iou(boxed, disk) > 0.7
    wrong = disk.copy()
    wrong[5:25, 5:35] = True
    given = masks_from_prompts(image, {}, {7: (Click(20, 15, False),)}, {7: wrong})[7].mask
    assert not given[15, 20] and given[60, 80]


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((120, 160), bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("sure_of_the_first", [True, False])
def test_a_pixel_of_two_masks_belongs_to_the_surer_object(
    monkeypatch: pytest.MonkeyPatch, sure_of_the_first: bool
) -> None:
    masks = {1: rectangle(10, 110, 10, 90), 2: rectangle(10, 100, 60, 140)}
    sure = {1: 5.0 if sure_of_the_first else 1.0, 2: 3.0}
    monkeypatch.setattr(Clicker, "mask", lambda self, object: masks[object].copy())
    monkeypatch.setattr(Clicker, "log_odds", lambda self, object: np.where(masks[object], sure[object], -5.0))
    frame, boxes = Frame(0, "0", scene()[0], 0.0), {0: {1: (10, 10, 80, 100), 2: (60, 10, 80, 90)}}
    labels = RunInputs(boxes=boxes).at(frame).labels
    first, second = (1, 2) if sure_of_the_first else (2, 1)
    assert labels is not None and np.array_equal(labels == first, masks[first])
    assert np.array_equal(labels == second, masks[second] & ~masks[first])


def test_of_overlapping_objects_the_smaller_one_lies_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    ball, person = rectangle(50, 70, 110, 130), rectangle(10, 110, 40, 120)
    monkeypatch.setattr(Clicker, "mask", lambda self, object: (person if object == 1 else ball).copy())
    monkeypatch.setattr(Clicker, "log_odds", lambda self, object: np.full((120, 160), 4.0 if object == 1 else 1.0))
    frame, boxes = Frame(0, "0", scene()[0], 0.0), {0: {1: (40, 10, 80, 100), 2: (110, 50, 20, 20)}}
    labels = RunInputs(boxes=boxes).at(frame).labels
    assert labels is not None and np.array_equal(labels == 2, ball) and (labels == 1).sum() == 100 * 80 - 20 * 10
    given = RunInputs(masks={0: np.where(person | (ball & (np.arange(160) < 128)), 7, 0)}, boxes=boxes).at(frame)
    assert given.labels is not None and (given.labels == 2).sum() == 40
    said = "the box of object 2 in frame 0 is mostly on other objects; only 40 pixels were used"
    assert any(said in warning for warning in given.warnings)


def test_a_given_mask_that_clicks_correct_keeps_its_pixels() -> None:
    image, disk = scene()
    given = RunInputs(
        masks={0: disk.astype(np.uint16) * 3},
        boxes={0: {4: (60, 35, 50, 60)}},
        clicks={0: {3: [Click(75, 60)]}},
    ).at(Frame(0, "0", image, 0.0))
    assert given.labels is not None and (given.labels[disk] == 3).all()


def test_a_click_on_one_object_is_a_negative_one_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[int, list[tuple[float, float, bool]]] = {}

    def click(self: Clicker, x: float, y: float, *, positive: bool = True, object: int = 1) -> None:
        said.setdefault(object, []).append((x, y, positive))

    monkeypatch.setattr(Clicker, "click", click)
    monkeypatch.setattr(Clicker, "mask", lambda self, object: np.ones((120, 160), bool))
    clicks = {1: (Click(80, 60), Click(9, 9, False)), 2: (Click(20, 30), Click(25, 30))}
    masks_from_prompts(scene()[0], {}, clicks, {})
    assert said[1] == [(80, 60, True), (9, 9, False), (20, 30, False), (25, 30, False)]
    assert said[2] == [(20, 30, True), (25, 30, True), (80, 60, False)]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((-1, 0, 20, 20), "outside the 160x120 picture"),
        ((150, 10, 20, 20), "outside the 160x120 picture"),
        ((500, 500, 20, 20), "outside"),
        ((45, 25, 115, 105), r"two corners it is 45,25,70,80"),
        ((10, 10, 0, 20), "too small"),
        ((10, 10, 30, -5), "too small"),
        ((0, 0, 160, 120), "all of the 160x120 picture"),
    ],
)
def test_boxes_that_do_not_fit(box: tuple[int, int, int, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        mask_from_box(scene()[0], box)


def test_nothing_found_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from hodor_cli import Clicker

    monkeypatch.setattr(Clicker, "mask", lambda self, object=1: np.zeros((120, 160), bool))
    with pytest.raises(InputError, match=r"no object was found in the box 45,25,70,70"):
        mask_from_box(scene()[0], (45, 25, 70, 70))
    with pytest.raises(InputError, match=r"no object was found at the clicks of object 3"):
        masks_from_prompts(scene()[0], {}, {3: (Click(80, 60),)}, {})


def test_parse_boxes(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.mp4", [scene()[0]] * 5), start=1)
    assert boxes_by_frame(read_boxes(["10,20,30,40"], source)) == {1: {1: (10, 20, 30, 40)}}
    assert boxes_by_frame(read_boxes([" 4 = 10, 20.4 ,30,40 "], source), taken={1}) == {4: {2: (10, 20, 30, 40)}}
    for wrong in ("10,20,30", "a,b,c,d", "x=1,2,3,4", "", "1=2=3,4,5,6", "1,2,3,nan", "-3=1,2,3,4", f"{10**400},1,9,9"):
        with pytest.raises(UsageError, match="is not a valid box"):
            read_boxes([wrong], source)
    with pytest.raises(InputError, match="past the end"):
        read_boxes(["5=45,25,70,70"], source)
    for outside in ("45,25,700,70", "-5,25,70,70"):
        with pytest.raises(UsageError, match="outside"):
            read_boxes([outside], source)
    with pytest.raises(UsageError, match=r"'0.25,0.5,0.5,0.25' looks like fractions .* give pixels, here 40,60,80,30"):
        read_boxes(["0.25,0.5,0.5,0.25"], source)
    with pytest.raises(UsageError, match="give pixels, here 40,60"):
        read_clicks(["-0.25,0.5"], source)


def test_parse_clicks(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.mp4", [scene()[0]] * 5), start=1)
    clicks = clicks_by_frame(read_clicks(["10,20", "-30, 40.2", "3:7=50,60", "4:7=-5,6"], source), {2: [1]})
    assert clicks == {
        1: {2: (Click(10, 20), Click(30, 40, False))},
        3: {7: (Click(50, 60),)},
        4: {7: (Click(5, 6, False),)},
    }
    as_well = read_clicks(["3=50,60,7", "-5,6,7"], source)  # the id as the last number
    assert clicks_by_frame(as_well, {}) == {1: {7: (Click(5, 6, False),)}, 3: {7: (Click(50, 60),)}}
    for wrong in ("10", "a,b", "10,20,30,40", "1:2=3,4,5", ":2=3,4", "--1,2", "", "1,2,x"):
        with pytest.raises(UsageError, match="is not a valid click"):
            read_clicks([wrong], source)
    with pytest.raises(UsageError, match="outside the 160x120 frame"):
        read_clicks(["160,5"], source)
    with pytest.raises(UsageError, match="ids must be between 1"):
        read_clicks(["1:0=16,5"], source)
    with pytest.raises(InputError, match="past the end"):
        read_clicks(["9=16,5"], source)


def test_clicks_without_an_id_refine_the_box_of_their_frame(tmp_path: Path) -> None:
    source = open_source(write_video(tmp_path / "clip.mp4", [scene()[0]] * 5))
    clicks = read_clicks(["50,60", "-5,6"], source)
    assert clicks_by_frame(clicks, {0: [4]}) == {0: {4: (Click(50, 60), Click(5, 6, False))}}
    assert clicks_by_frame(clicks, {2: [1]}).keys() == {0} and 2 in clicks_by_frame(clicks, {2: [1]})[0]
    with pytest.raises(UsageError, match="objects 1, 4; give `click` the frame and the id"):
        clicks_by_frame(clicks, {0: [4, 1]})
    boxes = ("--box", "0:1=60,40,40,40", "--box", "0:4=5,5,20,20")
    said = refused("segment", tmp_path / "clip.mp4", *boxes, "--click", "50,60", "-o", tmp_path / "out")
    assert "any of the objects 1, 4; give --click the frame and the id" in said
    assert said.endswith("for example 0:1=320,200")
    assert clicks_by_frame(read_clicks(["0:9=50,60"], source), {0: [4, 1]}) == {0: {9: (Click(50, 60),)}}


def test_a_click_without_an_id_far_from_its_object_is_refused(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", [scene()[0]] * 2)
    labels = np.zeros((120, 160), np.uint16)
    labels[50:70, 70:90] = 3
    write_label_png(tmp_path / "mask.png", labels)
    for given, known in (("--box=70,50,20,20", 1), (f"--mask={tmp_path / 'mask.png'}", 3)):
        look = ("look", video, given, "-o", tmp_path / "drawn.png", "--click")
        said = refused(*look, "15,100", code=2)
        assert f"the click 15,100 is far from object {known} of frame 0, which it would correct; give --click" in said
        assert said.endswith(f"for example 0:{2 if known == 1 else 1}=15,100") and not (tmp_path / "drawn.png").exists()
        for click in ("0:9=15,100", f"0:{known}=15,100", "60,60"):
            marks = Marks([given[7:]] if known == 3 else [], [given[6:]] if known == 1 else [], [click])
            marks.read(open_source(video))
    with pytest.raises(UsageError, match="far from object 1 of frame 0"):
        hodor_cli.segment(video, box=(70, 50, 20, 20), click=(15, 100), out=tmp_path / "out")


@pytest.mark.parametrize(("click", "told"), [("1=80,60", True), ("0:1=80,60", False), ("2=80,60", False)])
def test_who_writes_an_id_for_the_frame_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], click: str, told: bool
) -> None:
    video = write_video(tmp_path / "clip.mp4", [scene()[0]] * 3)
    Marks([], [], [click]).read(open_source(video))
    assert ("0:1= means object 1 of frame 0" in capsys.readouterr().err) == told


def test_click_in_a_run(tmp_path: Path) -> None:

    image, disk = scene()
    clip = write_video(tmp_path / "clip.mp4", [image] * 3)
    run = ["segment", str(clip), "--device", "cpu", "--min-dim", "64", "-o", str(tmp_path / "out")]
    hodor(*run, "--click", "80,60", "--click", "-10,10")
    made = np.asarray(Image.open(tmp_path / "out/box_masks/00000_id1.png"))
    assert iou(made == 1, disk) > 0.6
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["frames"][0]["clicks"] == {"1": [[80, 60, True], [10, 10, False]]}
    hodor(*run, "--click", "80,60", "--overwrite")
    assert (tmp_path / "out/box_masks/00000_id1.png").is_file()
    refined = hodor(*run, "--box", "45,25,70,70", "--click", "80,60", "--overwrite")
    assert "object 1 corrected by 1 click" in refined.output, refined.output
    assert [path.name for path in (tmp_path / "out/box_masks").iterdir()] == ["00000_id1.png"]
    hodor(*run[:-1], tmp_path / "b", "--click", "-80,60", code=2)
    assert not (tmp_path / "b").exists()


def test_negative_clicks_need_something_to_correct() -> None:
    check_clicks({2: (Click(1, 1, False),)}, {2}, 0)
    with pytest.raises(UsageError, match="only negative clicks in frame 4"):
        check_clicks({2: (Click(1, 1, False),)}, {1}, 4)


def test_real_frame(data_dir: Path) -> None:
    image = np.asarray(Image.open(data_dir / "davis2016_dev/JPEGImages/480p/soapbox/00000.jpg").convert("RGB"))
    truth = np.asarray(Image.open(data_dir / "davis2016_dev/Annotations/480p/soapbox/00000.png")) > 0
    rows, columns = np.where(truth)
    box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    assert iou(mask_from_box(image, box), truth) > 0.7
