"""What users correct in a run, what they are warned of, and which frames they are told to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segment_fakes import ColourSegmenter, MemorySource, two_squares

from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.images.label_png import read_label_png, write_label_png
from hodor_cli.records import FrameRecord, ObjectRecord, ReviewNote
from hodor_cli.run.inputs import RunInputs, removals_by_frame
from hodor_cli.run.prompts import boxes_by_frame, read_boxes
from hodor_cli.run.review import review_frames
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunHooks, RunOutput

COUNT = 8


def run(out: Path, inputs: RunInputs, **options: Any) -> Any:
    return segment_source(MemorySource(two_squares(COUNT)[0]), inputs, out, ColourSegmenter(), **options)


def areas(out: Path, object_id: int) -> list[int]:
    """Pixels of an object in every frame."""
    return [int((read_label_png(out / "masks" / f"{n:05d}.png") == object_id).sum()) for n in range(COUNT)]


def test_a_removed_object_is_gone_until_a_mask_brings_it_back(tmp_path: Path) -> None:
    out, images = tmp_path / "out", two_squares(COUNT)[0]
    first, blue = two_squares(1)[1], np.zeros((48, 64), np.uint16)
    blue[np.abs(images[6].astype(int) - (30, 60, 220)).max(axis=2) < 40] = 2
    run(out, RunInputs({0: first, 6: blue}, removals={3: [2]}))
    assert [area > 0 for area in areas(out, 2)] == [True] * 3 + [False] * 3 + [True] * 2
    assert all(areas(out, 1))
    frames = json.loads((out / "report.json").read_text())["frames"]
    assert frames[3]["removed"] == [2] and "2" not in frames[4]["objects"]


def test_a_removal_belongs_to_the_run_and_survives_an_interruption(tmp_path: Path) -> None:
    first = two_squares(1)[1]
    inputs = RunInputs({0: first}, removals={3: [2]})

    def stop(frame: Any, labels: Any) -> None:
        if frame.index == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", inputs, hooks=RunHooks(on_frame=stop))
    with pytest.raises(OutputError, match="the removal of frame 3"):
        run(tmp_path / "out", RunInputs({0: first}), output=RunOutput(resume=True))
    assert run(tmp_path / "out", inputs, output=RunOutput(resume=True)).resumed_from == 5
    assert areas(tmp_path / "out", 2)[3:] == [0] * 5


@pytest.mark.parametrize(
    ("removals", "words"),
    [
        ({3: [9]}, "no earlier frame marks it"),
        ({0: [1]}, "has a mask or box"),
        ({3: [1], 5: [1]}, "in frame 5: it is removed in frame 3 already; leave this out, or mark it in between"),
    ],
)
def test_a_removal_of_what_is_not_followed_is_refused(tmp_path: Path, removals: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(tmp_path / "out", RunInputs({0: two_squares(1)[1]}, removals=removals))
    assert not (tmp_path / "out").exists()


def test_a_mask_and_a_box_of_one_object_in_one_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="object 2 has a mask and a box in frame 0; give one of them"):
        run(tmp_path / "out", RunInputs({0: two_squares(1)[1]}, {0: {2: (3, 3, 9, 9)}}))
    assert not (tmp_path / "out").exists()


def test_a_removal_past_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame 99 to remove an object in"):
        run(tmp_path / "out", RunInputs({0: two_squares(1)[1]}, removals={99: [1]}))


def test_texts_become_removals_and_boxes_of_known_objects() -> None:
    source = MemorySource(two_squares(COUNT)[0])
    assert removals_by_frame(["1=2", " 7 = 2 ", "1=5"], source) == {2: [1, 7], 5: [1]}
    for wrong in ("1", "=3", "a=3", "1=2=3", "1=-2"):
        with pytest.raises(UsageError, match="ID=FRAME"):
            removals_by_frame([wrong], source)
    box = (2, 18, 26, 20)
    text = ",".join(str(side) for side in box)
    boxes = read_boxes([text, f"3={text}", f"3:1={text}"], source)
    assert boxes_by_frame(boxes, {2}) == {0: {3: box}, 3: {4: box, 1: box}}
    with pytest.raises(UsageError, match="second box for object 1"):
        boxes_by_frame(read_boxes([f"3:1={text}", f"3:1={text}"], source))
    with pytest.raises(UsageError, match="ids must be between 1 and 65535"):
        read_boxes([f"3:70000={text}"], source)


def test_a_mask_may_name_its_object_and_an_empty_one_ends_it(tmp_path: Path) -> None:
    source, labels = MemorySource(two_squares(COUNT)[0]), two_squares(COUNT)[1]
    write_label_png(tmp_path / "one.png", np.where(labels == 1, 1, 0).astype(np.uint16))
    write_label_png(tmp_path / "empty.png", np.zeros_like(labels, dtype=np.uint16))
    write_label_png(tmp_path / "both.png", labels.astype(np.uint16))
    arguments = [f"0:4={tmp_path}/one.png", f"3:4={tmp_path}/empty.png"]
    given = read_given(arguments, source)
    assert list(given.masks) == [0] and given.masks[0].object_ids == (4,)
    assert given.ends == {3: [4]}
    write_label_png(tmp_path / "white.png", np.where(labels == 1, 255, 0).astype(np.uint16))
    named = read_given([f"0:4={tmp_path}/white.png"], source).masks[0]
    assert named.object_ids == (4,) and named.notes == ["white.png holds only 0 and 255: it is one object, with id 4"]
    with pytest.raises(InputError, match=r"holds 2 objects.* give a mask of one, or 0="):
        read_given([f"0:4={tmp_path}/both.png"], source)


def test_a_box_corrects_the_object_that_has_its_id(tmp_path: Path) -> None:
    out = tmp_path / "out"
    images, first = two_squares(COUNT)
    wrong = np.where(first == 1, 7, 0).astype(np.uint16)  # the red square was taken for object 7
    images[3] = images[0]
    source = MemorySource(images)
    boxes = boxes_by_frame(read_boxes(["3:7=34,22,20,18"], source), {7})
    summary = segment_source(source, RunInputs({0: wrong}, boxes), out, ColourSegmenter())
    assert summary.object_ids == (7,)
    late = read_label_png(out / "masks" / "00005.png") == 7
    assert late[:, 32:].any() and not late[:20, :30].any()


def test_warnings_of_source_boxes_and_steps_are_told_and_kept(tmp_path: Path) -> None:
    images, first = two_squares(COUNT)
    source, segmenter = MemorySource(images), ColourSegmenter()
    segmenter.warn_at = 2
    source.warn("the file is cut off")
    box = {0: {3: (2, 6, 12, 12)}}  # exactly where object 1 was given
    summary = segment_source(source, RunInputs({0: first}, box), tmp_path / "out", segmenter)
    for words in ("cut off", "object 9 is too small", "box of object 3"):
        assert sum(words in warning for warning in summary.warnings) == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["warnings"] == list(summary.warnings)


def record(index: int, **of: Any) -> FrameRecord:
    good = {"area": 900, "box": (10, 10, 30, 30), "confidence": 0.97, "lost": False, "agreement": 0.7, "change": 0.1}
    return FrameRecord(index, f"{index:05d}", index / 25, {1: ObjectRecord(**{**good, **of})})


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        ({"agreement": 0.05, "change": 0.6}, "may be another object"),
        ({"change": 1.2}, "has changed much since it was given"),
        ({"agreement": None, "change": 1.2}, "has changed much since it was given"),
        ({"elsewhere": 0.45}, "lies in several places"),
        ({"cut_off": 0.3}, "part of it lay too far away and was left out"),
        ({"box": (80, 10, 30, 30)}, "position jumped"),
        ({"area": 300}, "area jumped"),
        ({"confidence": 0.5}, "low confidence"),
        ({"too_small": True}, "the given mask is too small to be used"),
    ],
)
def test_a_sure_mask_that_is_probably_wrong_is_named(of: dict[str, Any], reason: str) -> None:
    """Confidence is 0.97 in all but one: the network's own opinion would name none."""
    assert review_frames([record(0), record(1), record(2)]) == []
    found = review_frames([record(0), record(1, **of), record(2, **of)])
    assert reason in {item.reason for item in found if item.first_frame == 1}


def test_what_is_given_is_not_reviewed_and_notes_of_callbacks_are() -> None:
    given = FrameRecord(0, "0", 0.0, {1: record(0, agreement=0.0).objects[1]}, given=(1,))
    assert review_frames([given]) == []
    noted = FrameRecord(1, "1", 0.04, {1: record(1).objects[1]}, review=(ReviewNote(1, "a shot cut is likely"),))
    assert [item.reason for item in review_frames([given, noted])] == ["a shot cut is likely"]
