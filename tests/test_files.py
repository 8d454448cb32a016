"""Files are put in their places on Windows, too, where other programs hold them and devices have names of files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from data_fakes import make_coco

from hodor_cli import files
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import OutputError
from hodor_cli.locks import locked_file
from hodor_cli.samples.batches import Batches
from hodor_cli.samples.loader import quiet_worker
from hodor_cli.samples.sets import PhotographSet
from hodor_cli.samples.settings import MINI, BatchSettings


def test_a_file_that_a_scanner_holds_for_a_moment_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files, "_WAITS", (0, 0))
    held = [PermissionError(13, "used by another process"), PermissionError(13, "used by another process")]
    replace = os.replace

    def refusing(source: Path, target: Path) -> None:
        if held:
            raise held.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    files.write_whole(tmp_path / "a.json", b"1")
    assert (tmp_path / "a.json").read_bytes() == b"1" and os.listdir(tmp_path) == ["a.json"]
    held += [PermissionError(13, "open elsewhere")] * 3
    with pytest.raises(PermissionError):
        files.write_whole(tmp_path / "a.json", b"2")
    assert (tmp_path / "a.json").read_bytes() == b"1" and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("name", ["nul", "NUL.png", "com1.txt", "aux"])
def test_names_of_devices_are_names_everywhere_but_on_windows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WINDOWS", False)
    assert files.is_plain_name(name)
    monkeypatch.setattr(files, "WINDOWS", True)
    assert not files.is_plain_name(name) and files.is_plain_name(f"x{name}")


def test_a_lock_file_lies_beside_its_target_while_the_lock_is_held(tmp_path: Path) -> None:
    with locked_file(tmp_path / "a"):
        assert (tmp_path / "a.lock").is_file()
    assert not (tmp_path / "a.lock").exists()


def test_what_workers_get_survives_a_start_anew(tmp_path: Path) -> None:
    """Where processes are not forked, all that they need is pickled."""
    make_coco(tmp_path, 4)
    stills = PhotographSet(StillImages(tmp_path, limits=ObjectLimits(100, 5, at_area=None)), MINI)
    batches = Batches([stills], BatchSettings(batch_size=2, area=64 * 64))
    again = pickle.loads(pickle.dumps((batches, quiet_worker)))[0]
    one, other = batches[0], again[0]
    assert isinstance(one, dict) and np.array_equal(one["frames"], other["frames"]) and one["names"] == other["names"]


def test_a_folder_that_may_not_be_written_to_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(OutputError, match="no permission for its folder"):
        files.require_place(tmp_path / "scores.json", overwrite=True)


def test_names_are_drawn_in_the_letters_that_the_font_has() -> None:
    for name in ("é", "e\u0301"):
        assert files.drawable(f"caf{name}.mp4") == "cafe.mp4"
    assert files.drawable("猫 1\n…") == "? 1\\n..."
