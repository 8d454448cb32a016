"""Data sets are recognised by their layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_fakes import davis, moving_labels, write_labels, write_meta, write_sequence
from PIL import Image

from hodor_cli.datasets.dataset import recognise
from hodor_cli.errors import DataError, InputError, UsageError
from hodor_cli.evaluation.scoring import DAVIS, DAVIS_LIKE, YOUTUBE_VOS, rules_of


def write_split(root: Path, year: str, split: str, lines: list[str]) -> None:
    folder = root / "ImageSets" / year
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


def test_davis_2017_with_splits(tmp_path: Path) -> None:
    davis(tmp_path, {name: moving_labels(4) for name in ("bear", "camel", "dog")})
    write_split(tmp_path, "2017", "train", ["bear"])
    write_split(tmp_path, "2017", "val", ["camel", "dog", "not-here"])
    found = recognise(tmp_path)
    assert (found.kind, rules_of(found), found.has_truth) == ("davis-2017", DAVIS, True)
    assert list(found.sequences) == ["camel", "dog"]
    assert "split val, 2 sequences, 8 frames" in found.describe()
    assert "split train, 1 sequence" in found.select(["train"]).describe()
    assert ", split" not in found.select(["bear"]).describe()
    assert "lists 3 sequences, of which 2" in found.notes[0]
    assert list(found.select(["train"]).sequences) == ["bear"]
    assert list(found.select(["dog", "bear"]).sequences) == ["dog", "bear"]
    with pytest.raises(UsageError, match=r"no sequence 'camle'; did you mean camel"):
        found.select(["camle"])


def test_a_list_that_names_nothing_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    davis(tmp_path, {"bear": moving_labels(4)})
    write_split(tmp_path, "2017", "val", ["not-here"])
    assert recognise(tmp_path).notes == (
        f"no sequence listed in {tmp_path / 'ImageSets/2017'} is on disk, so all sequences are used",
    )
    (tmp_path / "ImageSets/2017/train.txt").mkdir()
    with pytest.raises(DataError, match=r"2017/train\.txt cannot be read"):
        recognise(tmp_path)


def test_davis_2016_is_what_holds_255_alone(tmp_path: Path) -> None:
    davis(tmp_path, {name: [labels * 255 for labels in moving_labels(4, ids=(1,))] for name in ("bear", "camel")})
    lines = [f"/JPEGImages/480p/camel/{i:05d}.jpg /Annotations/480p/camel/{i:05d}.png" for i in range(4)]
    write_split(tmp_path, "2016", "val", lines)
    write_split(tmp_path, "2017", "val", ["bear"])
    found = recognise(tmp_path)
    assert found.kind == "davis-2016"
    assert list(found.sequences) == ["camel"]
    assert "255" in found.layout


def test_480p_is_preferred(tmp_path: Path) -> None:
    davis(tmp_path, {"bear": moving_labels(4)}, size="Full-Resolution")
    davis(tmp_path, {"bear": moving_labels(3)})
    found = recognise(tmp_path)
    assert len(found.sequences["bear"]) == 3
    assert "Full-Resolution" in found.notes[0]


def test_davis_without_public_truth(tmp_path: Path) -> None:
    davis(tmp_path, {"golf": moving_labels(4)}, only_first=True)
    write_split(tmp_path, "2017", "test-dev", ["golf"])
    found = recognise(tmp_path)
    assert not found.has_truth
    assert found.split == "test-dev"
    assert "truth not public" in found.describe()


def test_youtube_vos(tmp_path: Path) -> None:
    labels = moving_labels(11)
    for frame in labels[:5]:
        frame[frame == 2] = 0
    write_sequence(tmp_path / "JPEGImages" / "ab12", tmp_path / "Annotations" / "ab12", labels, every=5)
    frames = ["00000", "00005", "00010"]
    write_meta(tmp_path, {"ab12": {"1": ("person", frames), "2": ("toaster", frames[1:])}, "lost": {}})
    found = recognise(tmp_path)
    assert (found.kind, rules_of(found), found.has_truth) == ("youtube-vos", YOUTUBE_VOS, True)
    sequence = found.sequences["ab12"]
    assert (len(sequence.images), list(sequence.masks), sequence.wanted) == (11, frames, tuple(frames))
    assert sequence.groups == {1: "seen", 2: "unseen"}
    assert "lost" in found.notes[0]
    (tmp_path / "Annotations" / "ab12" / "00010.png").unlink()  # what is left says only where objects start
    assert not recognise(tmp_path).has_truth


def test_mose_and_lvos(tmp_path: Path) -> None:
    write_sequence(tmp_path / "JPEGImages" / "0a1b", tmp_path / "Annotations" / "0a1b", moving_labels(9), every=2)
    found = recognise(tmp_path)
    assert (found.kind, rules_of(found), found.has_truth) == ("davis-like", DAVIS_LIKE, True)
    assert len(found.sequences["0a1b"].masks) == 5
    late = moving_labels(9)
    for frame in late[:4]:
        frame[frame == 2] = 0
    folder = tmp_path / "Annotations" / "later"
    write_sequence(tmp_path / "JPEGImages" / "later", None, late)
    for index in (0, 4):
        write_labels(folder / f"{index:05d}.png", late[index])
    assert not recognise(tmp_path).select(["later"]).has_truth


@pytest.mark.parametrize("names", [("images", "masks"), ("frames", "gt"), ("clip", "annotations")])
def test_two_plain_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    nested, flat = tmp_path / "nested", tmp_path / "flat"
    for sequence in ("one", "two"):
        write_sequence(nested / names[0] / sequence, nested / names[1] / sequence, moving_labels(4))
    write_sequence(flat / names[0], flat / names[1], moving_labels(4))
    found = recognise(nested)
    assert (found.kind, list(found.sequences)) == ("plain", ["one", "two"])
    found = recognise(flat)
    assert {name: len(sequence.images) for name, sequence in found.sequences.items()} == {"flat": 4}
    assert "wrong for photographs" in found.describe()
    assert "read as one clip" in found.describe() and "one clip" not in recognise(nested).describe()
    Image.new("RGB", (50, 40)).save(min((flat / names[0]).iterdir()))
    with pytest.raises(DataError, match=r"of several sizes \(00000\.\w+ is 50x40, 00001"):
        recognise(flat)


def test_true_masks_alone(tmp_path: Path) -> None:
    write_sequence(None, tmp_path / "truth" / "one", moving_labels(4))
    found = recognise(tmp_path / "truth")
    assert list(found.sequences) == ["one"]
    assert found.has_truth
    assert list(recognise(tmp_path / "truth" / "one").sequences) == ["one"]


def test_a_photograph_beside_true_masks_makes_no_sequence(tmp_path: Path) -> None:
    write_sequence(None, tmp_path / "one", moving_labels(2))
    (tmp_path / "thumbnail.jpg").touch()
    assert list(recognise(tmp_path).sequences) == ["one"]


def test_what_is_no_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set"):
        recognise(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it needs JPEGImages"):
        recognise(tmp_path / "empty")
    davis(tmp_path / "up" / "DAVIS", {"bear": moving_labels(3)})
    with pytest.raises(DataError, match=r"did you mean .*DAVIS\?"):
        recognise(tmp_path / "up")
    write_sequence(tmp_path / "bare" / "JPEGImages" / "480p" / "bear", None, moving_labels(3))
    with pytest.raises(DataError, match="no masks"):
        recognise(tmp_path / "bare")
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(DataError, match="is a file"):
        recognise(tmp_path / "file.txt")


def test_first_masks_may_be_empty(tmp_path: Path) -> None:
    labels = [np.zeros((48, 80), np.uint8), *(frame * 255 for frame in moving_labels(3, ids=(1,)))]
    davis(tmp_path, {"late": labels})
    assert recognise(tmp_path).kind == "davis-2016"
