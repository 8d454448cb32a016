"""The descriptor file: reading, writing, skipping, replacing, locking, and surviving a kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hodor_cli.descriptors.search.comparison import vectors_of_store
from hodor_cli.descriptors.store.schema import ObjectRow, StoreInfo, VideoInfo
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.writer import StoreWriter
from hodor_cli.errors import HodorError, InputError, OutputError, UsageError

INFO = StoreInfo("f" * 64, 8, "toy")


def video_info(name: str, content: str = "a", source: str | None = None, **settings: object) -> VideoInfo:
    return VideoInfo(
        name, source or f"/clips/{name}.mp4", 48, 64, 25.0, content, INFO.model_fingerprint, dict(settings)
    )


def add(writer: StoreWriter, info: VideoInfo, frames: int = 4, seed: int = 0, thumbnails: bool = True) -> None:
    rng = np.random.default_rng(seed)
    with writer.video(info) as video:
        for frame in range(frames):
            rows = [
                ObjectRow(
                    i,
                    rng.normal(size=8).astype(np.float32),
                    (i, 2, 3, 4),
                    12 * i,
                    0.5,
                    np.ones(3, np.float32),
                    b"\xff\xd8jpeg" if thumbnails else None,
                )
                for i in (1, 300)
            ]
            video.add_frame(frame, rows, np.full((9, 8), frame, np.float32))


def test_rows_beyond_the_last_do_not_make_a_file_damaged(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        add(writer, video_info("bear"))
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert len(store.read("frame", 6, 100)) == 2
        with pytest.raises(InputError, match="has no rows 8 to 9; it has 8, counted from 0"):
            store.read("frame", 8, 9)


def test_a_closed_store_says_that_it_is_closed(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        add(writer, video_info("bear"))
    with DescriptorStore(tmp_path / "objects.h5") as store:
        pass
    for read in (lambda: store.videos, lambda: len(store), lambda: store.object("bear", 1), store.index):
        with pytest.raises(UsageError, match="is closed"):
            read()


def test_a_store_shows_what_it_is(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "objects.h5", StoreInfo("f", 8, "toy")) as writer:
        add(writer, video_info("bear"))
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert repr(store) == f"DescriptorStore('{tmp_path / 'objects.h5'}', 1 video)"
    assert repr(store).endswith(", closed)")


def test_written_rows_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "objects.h5"
    with StoreWriter(path, INFO) as writer:
        add(writer, video_info("bear", every=2))
        add(writer, video_info("cow"), frames=700)
    with DescriptorStore(path) as store:
        assert store.videos == ["bear", "cow"] and len(store) == 8 + 1400
        rows = store.rows("bear")
        assert rows.descriptor.shape == (8, 8) and rows.descriptor.dtype == np.float32
        assert rows.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and rows.object_id.tolist() == [1, 300] * 4
        assert rows.box[1].tolist() == [300, 2, 3, 4] and rows.area[1] == 3600
        assert rows.info.settings == {"every": 2} and rows.info.fps == 25 and rows.info.height == 48
        background, frames = store.background("bear")
        assert background.shape == (4, 9, 8) and frames.tolist() == [0, 1, 2, 3] and background[3, 0, 0] == 3
        assert store.thumbnails("bear")[0] == b"\xff\xd8jpeg"
        assert len(store.object("cow", 300)) == 700 and store.object_ids("cow") == [1, 300]
        monkeypatch.setattr("hodor_cli.descriptors.search.comparison.BLOCK", 500)
        starts = [(start, len(block)) for start, block in vectors_of_store(store)]
        assert starts == [(0, 500), (500, 500), (1000, 408)]
        whole = np.concatenate([store.rows("bear").frame, store.rows("cow").frame])
        assert store.read("frame", 5, 333).tolist() == whole[5:333].tolist()
        monkeypatch.setattr("hodor_cli.descriptors.search.comparison.BLOCK", 100)
        part = vectors_of_store(store, "frame").part(5, 333)
        assert [(first, block[0]) for first, block in part] == [
            (first, whole[5 + first]) for first in (0, 100, 200, 300)
        ]
        index = store.index()
        assert len(np.unique(index.instance)) == 4 and index.time(7) == pytest.approx(3 / 25)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["objects.h5"]


def test_h5py_alone_can_read_it(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        add(writer, video_info("bear"))
    with h5py.File(tmp_path / "objects.h5", "r") as file:
        assert file.attrs["format"] == "hodor-descriptors" and file.attrs["format_version"] == 1
        group = file["videos/bear"]
        assert group["descriptor"].chunks is not None and group["descriptor"].compression == "gzip"
        assert bytes(group["thumbnail"][0]) == b"\xff\xd8jpeg"
        assert json.loads(group.attrs["settings"]) == {}


def test_same_content_is_skipped_and_changed_content_replaces(tmp_path: Path) -> None:
    path = tmp_path / "objects.h5"
    with StoreWriter(path, INFO) as writer:
        add(writer, video_info("bear"))
        add(writer, video_info("cow"))
    with StoreWriter(path, INFO) as writer:
        assert writer.has(video_info("bear")) and not writer.has(video_info("bear", "b"))
        assert not writer.has(video_info("bear", every=5)) and not writer.has(video_info("dog"))
        add(writer, video_info("bear", "b"), frames=1)
    with DescriptorStore(path) as store:
        assert len(store.rows("bear")) == 2 and len(store.rows("cow")) == 8
        assert store.video("bear").content_hash == "b"


def test_two_sources_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        add(writer, video_info("clip", source="/a/clip.mp4"))
        with pytest.raises(UsageError, match="another `name`"):
            writer.video(video_info("clip", "b", source="/b/clip.mp4"))
        with pytest.raises(UsageError, match="slashes"):
            writer.video(video_info("a/b"))


def test_a_moved_video_with_the_same_masks_replaces_its_earlier_version(tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    source.touch()
    held = replace(video_info("clip", source=str(source)), result="/masks/clip")
    moved = replace(held, source="/moved/clip.mp4", content_hash="b")
    with StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        add(writer, held)
        with pytest.raises(UsageError, match="another `name`"):  # the first source is still there
            writer.video(moved)
        source.unlink()
        with pytest.raises(UsageError, match="another `name`"):
            writer.video(replace(moved, result="/masks/other"))
        add(writer, moved, frames=1)
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert store.video("clip").source == "/moved/clip.mp4" and len(store) == 2


def test_another_model_is_refused(tmp_path: Path) -> None:
    StoreWriter(tmp_path / "objects.h5", INFO).close()
    with pytest.raises(InputError, match="another model"):
        StoreWriter(tmp_path / "objects.h5", StoreInfo("0" * 64, 8, "mini"))
    StoreWriter(tmp_path / "objects.h5", INFO).close()  # the refusal left no lock behind


def test_a_failing_video_leaves_the_others(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        add(writer, video_info("bear"))
        with writer.video(video_info("cow")) as video:
            video.add_frame(0, [], np.zeros((9, 8), np.float32))
            raise RuntimeError("decoding failed")
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert store.videos == ["bear"]
    assert [p.name for p in tmp_path.iterdir()] == ["objects.h5"]


def test_second_writer_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "objects.h5"
    with StoreWriter(path, INFO) as writer:
        code = (
            "from hodor_cli.descriptors.store.writer import StoreWriter\n"
            "from hodor_cli.descriptors.store.schema import StoreInfo\n"
            f"StoreWriter({str(path)!r}, StoreInfo('f' * 64, 8))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"is being written by process {os.getpid()}" in result.stderr
        with pytest.raises(OutputError, match="being written"):
            StoreWriter(path, INFO)
        add(writer, video_info("bear"))
        with DescriptorStore(path) as store:  # readers need no lock
            assert store.videos == ["bear"]


@pytest.mark.parametrize("merge_always_below", [1 << 30, 0])
def test_kill_at_any_moment_loses_at_most_the_video_in_progress(tmp_path: Path, merge_always_below: int) -> None:
    script = tmp_path / "write.py"
    script.write_text(
        "import sys\nsys.path.insert(0, sys.argv[2])\n"
        "from test_descriptors_store import *\n"
        "from hodor_cli.descriptors.store import writer as module\n"
        f"module.MERGE_ALWAYS_BELOW = {merge_always_below}\n"
        "with StoreWriter(sys.argv[1], INFO) as writer:\n"
        "    for n in range(100000):\n"
        "        info = video_info(f'v{n % 40:02d}', str(n))\n"
        "        add(writer, info, frames=3, seed=n)\n"
        "        print(n, flush=True)\n"
    )
    beside = str(Path(__file__).parent)
    rng = random.Random(5)
    path = tmp_path / "objects.h5"
    for _ in range(6):
        process = subprocess.Popen([sys.executable, str(script), str(path), beside], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        done = [int(line) for line in (first + process.stdout.read()).split() if line.isdigit()]
        process.wait()
        with h5py.File(path, "r") as file:  # the file itself is whole, even for a program that knows nothing of parts
            for group in file["videos"].values():
                assert group["descriptor"][()].shape == (6, 8)
        with DescriptorStore(path) as store:
            newest = {f"v{n % 40:02d}": n for n in done}
            for name, n in newest.items():
                held = int(store.video(name).content_hash)
                # The print comes after the video is safe, so a kill in between may show the next round already.
                assert held >= n
                expected = np.random.default_rng(held).normal(size=8).astype(np.float32)
                np.testing.assert_array_equal(store.rows(name).descriptor[0], expected)
    StoreWriter(path, INFO).close()
    assert not (tmp_path / "objects.h5.pending").exists() and not (tmp_path / ".objects.h5.tmp").exists()


def test_a_part_of_another_model_is_not_merged(tmp_path: Path) -> None:
    path, part = tmp_path / "objects.h5", tmp_path / "objects.h5.pending" / "00000001.h5"
    StoreWriter(path, INFO).close()
    with StoreWriter(tmp_path / "other.h5", replace(INFO, model_fingerprint="e" * 64)) as writer:
        add(writer, video_info("bear"))
    part.parent.mkdir()
    (tmp_path / "other.h5").rename(part)
    StoreWriter(path, INFO).close()
    with DescriptorStore(path) as store:
        assert not store.videos and not part.exists()


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    StoreWriter(tmp_path / "objects.h5", INFO).close()
    with (tmp_path / "objects.h5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as HDF5 locks a file that it writes
        with pytest.raises(InputError, match="is open for writing in another program; close it there first"):
            DescriptorStore(tmp_path / "objects.h5")


def test_bad_files_are_explained(tmp_path: Path) -> None:
    def message(path: Path) -> str:
        with pytest.raises(HodorError) as caught:
            DescriptorStore(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    text = tmp_path / "text.h5"
    text.write_text("hello")
    assert "not an HDF5 file" in message(text)
    assert "no such descriptor file" in message(tmp_path / "none.h5")
    assert "is a folder" in message(tmp_path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    assert "holds no hodor descriptors" in message(tmp_path / "other.h5")
    good = tmp_path / "good.h5"
    with StoreWriter(good, INFO) as writer:
        add(writer, video_info("bear"))
    (tmp_path / "cut.h5").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    # The same export skips videos that the file has, or meets the same damage.
    assert "is truncated; restore it from a copy, or move it away and export again" in message(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "hodor-descriptors", 99
        file.create_group("videos")
    assert "update hodor" in message(tmp_path / "new.h5")
    with DescriptorStore(good) as store:
        with pytest.raises(InputError, match="no video cow; it has bear"):
            store.rows("cow")
        with pytest.raises(InputError, match="no object 7 in video bear; it has 1, 300"):
            store.object("bear", 7)
        with pytest.raises(InputError, match="no category"):
            store.dataset("bear", "category")
    with pytest.raises(OutputError, match="does not exist"):
        StoreWriter(tmp_path / "nowhere" / "objects.h5", INFO)
    damaged = tmp_path / "damaged.h5"
    shutil.copy(good, damaged)
    with h5py.File(damaged, "r+") as file:
        del file["videos/bear"].attrs["source"]
        rows = file["videos/bear/area"][1:]
        del file["videos/bear/area"]
        file["videos/bear/area"] = rows
    with DescriptorStore(damaged) as store:
        with pytest.raises(InputError, match=r"damaged at video bear .*move it away and export again"):
            store.video("bear")
        with pytest.raises(InputError, match=r"damaged at video bear \(area has .* rows instead of"):
            store.dataset("bear", "area")
    with h5py.File(damaged, "r+") as file:
        del file["videos/bear/frame"]
    assert "it has no frames" in message(damaged)
    with h5py.File(damaged, "r+") as file:
        del file.attrs["model_fingerprint"]
    assert "the attribute model_fingerprint is missing" in message(damaged)


def test_a_file_of_version_0_1_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "hodor-descriptors", "format_version": 1, **vars(INFO)})
        video = file.create_group("videos/bear")
        video.attrs.update(
            {"source": "bear.mp4", "height": 48, "width": 64, "fps": 25.0, "content_hash": "a", "kind": "segment"}
            | {"model_fingerprint": INFO.model_fingerprint, "settings": '{"every": 1}', "uid": "0" * 32}
        )
        for name, dtype, *row in (
            ("descriptor", "f4", 8),
            ("frame", "i4"),
            ("object_id", "i4"),
            ("box", "i4", 4),
            ("area", "i8"),
            ("confidence", "f4"),
            ("background", "f4", 9, 8),
            ("background_frame", "i4"),
            ("baseline", "f4", 3),
        ):
            video.create_dataset(name, data=np.ones((2, *row), dtype), maxshape=(None, *row))
        crops = video.create_dataset("thumbnail", (2,), h5py.vlen_dtype(np.uint8), maxshape=(None,), chunks=(64,))
        crops[1] = np.frombuffer(b"\xff\xd8jpeg", np.uint8)
    with DescriptorStore(path) as store:
        rows = store.rows("bear")
        assert rows.descriptor.shape == (2, 8) and rows.info.settings == {"every": 1} and rows.info.source == "bear.mp4"
        assert store.thumbnails("bear") == [None, b"\xff\xd8jpeg"]
