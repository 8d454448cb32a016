"""A file belongs to the frame that its name most likely means; the match is told, and doubt is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import davis, moving_labels, write_labels
from PIL import Image

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.dataset import recognise
from hodor_cli.datasets.matching import match_names
from hodor_cli.errors import DataError, InputError
from hodor_cli.evaluation.predictions import score_predictions
from hodor_cli.formats.mask_arguments import read_given
from hodor_cli.video.source import open_source


def numbered(first: int, last: int, prefix: str = "", width: int = 5) -> list[str]:
    return [f"{prefix}{index:0{width}d}" for index in range(first, last + 1)]


@pytest.mark.parametrize(
    ("names", "frames", "first", "told"),
    [
        (numbered(0, 7), numbered(0, 7), "00000", ""),
        (["001"], numbered(1, 8, "img_", 3), "img_001", "by their number"),
        (numbered(1, 8, "mask_", 3), numbered(1, 8, "img_", 3), "img_001", "by their number"),
        (numbered(1, 8), numbered(0, 7), "00000", "from 1"),
        (numbered(0, 7, "", 3), numbered(1, 8, "img_", 3), "img_001", "from 0"),
        (["a_mask", "b_mask"], ["a", "b", "c"], "a", "without _mask"),
        (["2", "10"], ["1", "2", "10"], "2", ""),
        (["cafe\u0301"], ["caf\u00e9", "th\u00e9"], "caf\u00e9", ""),
        (["IMG_1"], ["img_1"], "img_1", ""),
        (numbered(1, 7), numbered(0, 7), "00001", ""),
    ],
)
def test_names_of_frames(names: list[str], frames: list[str], first: str, told: str) -> None:
    match = match_names(names, frames)
    assert match.frames[names[0]] == first and not match.unused
    assert told in match.how and bool(told) == bool(match.how)


def test_numbers_of_a_video() -> None:
    frames = numbered(0, 7)
    assert match_names(numbered(1, 8), frames, counted=True).frames["00001"] == "00000"
    assert "frame 0" in match_names(numbered(1, 8), frames, counted=True).how
    assert match_names(numbered(0, 7, "frame_"), frames, counted=True).frames["frame_00003"] == "00003"
    assert match_names(["00004"], frames, counted=True).frames == {"00004": "00004"}
    late = match_names(["00003", "00008"], frames, counted=True)
    assert late.frames == {"00003": "00003"} and late.unused == ("00008",)
    past = match_names(["00000", "00012"], frames, counted=True)
    assert past.unused == ("00012",) and "00012" in past.describe("masks")[0]


@pytest.mark.parametrize(
    ("names", "frames", "counted"),
    [
        (["00001"], numbered(0, 7), True),  # the second frame, or the first as ffmpeg numbers it
        (numbered(1, 4), numbered(0, 7), True),
        (numbered(1, 9), numbered(0, 7), False),
        (["001"], ["bear", "cow", "dog"], False),
    ],
)
def test_doubt_is_refused_with_a_way_out(names: list[str], frames: list[str], counted: bool) -> None:
    with pytest.raises(InputError, match="give the files the names of their frames"):
        match_names(names, frames, counted=counted)


def test_a_mask_of_a_frame_that_was_deleted_is_the_doubtful_one() -> None:
    frames = [name for name in numbered(0, 9, "img_") if name not in ("img_00005", "img_00006")]
    with pytest.raises(InputError, match=r"^img_00005 may belong to no frame or to img_00007, .*leave out the others"):
        match_names(["img_00004", "img_00005"], frames)


def test_a_name_that_fits_nothing_is_unused() -> None:
    assert match_names(["other"], ["bear", "cow"]).unused == ("other",)
    assert match_names([], ["bear"]).frames == {}
    assert match_names(["9" * 400], numbered(0, 3), counted=True).frames == {}


def test_the_match_of_a_folder_of_masks_is_told(tmp_path: Path) -> None:
    labels = moving_labels(4)
    for index in range(4):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.new("RGB", (80, 48)).save(tmp_path / "frames" / f"img_{index + 1:03d}.jpg")
        write_labels(tmp_path / "masks" / f"{index + 1:03d}.png", labels[index])
    write_labels(tmp_path / "masks" / "020.png", labels[0])
    source = open_source(tmp_path / "frames")
    given = read_given([str(tmp_path / "masks")], source).masks
    assert list(given) == [0, 1, 2, 3] and np.array_equal(given[0].labels, labels[0])
    said = " ".join(given[0].notes)
    assert "001 is img_001" in said and "020" in said and "not used" in said
    late = read_given([str(tmp_path / "masks")], open_source(tmp_path / "frames", end=2)).masks
    assert list(late) == [0, 1] and any("their frames are not read" in note for note in late[0].notes)


def test_predictions_numbered_from_one_are_not_scored_a_frame_late(tmp_path: Path) -> None:
    labels = moving_labels(6)
    davis(tmp_path / "davis", {"bear": labels})
    for index, frame in enumerate(labels):
        write_labels(tmp_path / "masks" / "bear" / f"{index + 1:05d}.png", frame)
    scored = score_predictions(recognise(tmp_path / "davis"), tmp_path / "masks", workers=1)
    assert not scored.failed and scored.scores["bear"].jf == 1.0
    assert any("from 1" in note for note in scored.scores["bear"].notes)


def test_masks_of_a_data_set_that_are_off_by_one_are_refused(tmp_path: Path) -> None:
    davis(tmp_path, {"bear": moving_labels(4)})
    masks = tmp_path / "Annotations" / "480p" / "bear"
    for file in sorted(masks.iterdir(), reverse=True):
        file.rename(masks / f"{int(file.stem) + 1:05d}.png")
    with pytest.raises(DataError, match=r"\(apparently numbers are .* from 1, as ffmpeg does: 00001 is 00000"):
        ClipSet(tmp_path)


def test_a_list_of_sequences_may_have_a_byte_order_mark_and_names_with_spaces(tmp_path: Path) -> None:
    davis(tmp_path, {name: moving_labels(3) for name in ("bear", "my cow")})
    lists = tmp_path / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("bear\nmy cow\n", encoding="utf-8-sig")
    assert [clip.name for clip in ClipSet(tmp_path).clips] == ["bear", "my cow"]
    assert list(recognise(tmp_path).sequences) == ["bear", "my cow"]


def test_the_frame_of_a_picture_without_an_ending_has_its_whole_name(tmp_path: Path) -> None:
    for place in ("frames", "voc/SegmentationObject"):
        (tmp_path / place).mkdir(parents=True)
        for index, labels in enumerate(moving_labels(3)):
            image = Image.fromarray(
                labels * (labels == 1) if "voc" in place else np.full((*labels.shape, 3), index, np.uint8)
            )
            image.save(tmp_path / place / f"a.{index}.png")
    with open_source(tmp_path / "frames") as source:
        assert list(read_given([str(tmp_path / "voc")], source).masks) == [0, 1, 2]


def test_folders_and_files_match_in_every_unicode_form(tmp_path: Path) -> None:
    for name, letter, folder in (("ba\u0308r", "e\u0301", "JPEGImages"), ("b\u00e4r", "\u00e9", "Annotations")):
        place = tmp_path / folder / name
        place.mkdir(parents=True)
        for index in range(3):
            image = Image.new("L", (40, 40), 0)
            image.paste(255 if folder == "Annotations" else 90, (5, 5, 30, 30))
            image.save(place / f"{letter}{index}.png")
    clips = ClipSet(tmp_path)
    assert len(clips) == 1 and clips.clips[0].labelled == (0, 1, 2)
