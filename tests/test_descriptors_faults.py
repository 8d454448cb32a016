"""Descriptor files that are damaged, hostile or too large, disks that are full, and names that mean something."""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from descriptor_helpers import INFO, clustered_store

from hodor_cli.cli.views import map_files
from hodor_cli.descriptors import DescriptorStore, ObjectRow, StoreWriter, VideoInfo
from hodor_cli.descriptors.search.query import parse_reference, queries_of_store
from hodor_cli.descriptors.search.search import search_objects
from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.views.layout import make_map
from hodor_cli.descriptors.views.map_files import write_map_page, write_points_csv
from hodor_cli.descriptors.views.retrieval import write_contact_sheet
from hodor_cli.errors import HodorError, InputError, OutputError, UsageError


def read_everything(path: Path) -> None:
    with DescriptorStore(path) as store:
        store.index()
        for name in store.videos:
            store.rows(name)
            store.background(name)
            for data in store.thumbnails(name):
                if data is not None:
                    open_crop(data)


def refusal(path: Path) -> str:
    """The one sentence with which a file is refused, at once."""
    began = time.monotonic()
    with pytest.raises(HodorError) as caught:
        read_everything(path)
    assert time.monotonic() - began < 5 and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return clustered_store(tmp_path / "objects.h5", videos=2, frames=4)


def test_nothing_outside_the_file_is_read(store: Path, tmp_path: Path) -> None:
    private = shutil.copy(store, tmp_path / "private.h5")
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 8))
    frame = "videos/v0/frame"

    def outside(file: h5py.File) -> None:
        file["videos/other"] = h5py.ExternalLink(str(private), "/videos/v0")

    def aside(file: h5py.File) -> None:
        file["videos/other"] = h5py.SoftLink("/videos/v0")

    def below(file: h5py.File) -> None:
        del file["videos/v0/baseline"]
        file["videos/v0/baseline"] = h5py.ExternalLink(str(private), "/videos/v1/baseline")

    def instead(file: h5py.File) -> None:
        del file["videos"]
        file["videos"] = h5py.ExternalLink(str(private), "/videos")

    def raw(file: h5py.File) -> None:
        del file[frame]
        file.create_dataset(frame, (8,), "int32", external=[(str(tmp_path / "secret.bin"), 0, 32)])

    def virtual(file: h5py.File) -> None:
        del file[frame]
        layout = h5py.VirtualLayout((8,), "int32")
        layout[:] = h5py.VirtualSource(str(private), frame, (8,))
        file.create_virtual_dataset(frame, layout)

    for number, change in enumerate((outside, aside, below, instead, raw, virtual)):
        path = tmp_path / f"changed{number}.h5"
        shutil.copy(store, path)
        with h5py.File(path, "r+") as file:
            change(file)
        assert "never followed" in refusal(path) or "never read" in refusal(path), change.__name__


def test_damage_anywhere_is_one_sentence(store: Path, tmp_path: Path) -> None:
    whole = store.read_bytes()
    generator = random.Random(3)
    path = tmp_path / "damaged.h5"
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        place = generator.randrange(len(data))
        kind = generator.choice(["cut", "zeros", "tail", "bit", "noise"])
        if kind == "cut":
            del data[place:]
        elif kind in ("zeros", "tail"):
            end = len(data) if kind == "tail" else min(place + 512, len(data))
            data[place:end] = bytes(end - place)
        elif kind == "bit":
            data[place] ^= 1 << generator.randrange(8)
        else:
            data[place : place + 16] = generator.randbytes(len(data[place : place + 16]))
        path.write_bytes(data)
        try:
            read_everything(path)
        except HodorError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 60


def test_what_a_file_claims_and_does_not_hold_is_refused(store: Path, tmp_path: Path) -> None:
    def replaced(name: str, **options: object) -> Path:
        path = tmp_path / "claims.h5"
        shutil.copy(store, path)
        with h5py.File(path, "r+") as file:
            del file["videos/v0"][name]
            file["videos/v0"].create_dataset(name, **options)
        return path

    huge = {"shape": (1 << 40,), "maxshape": (None,), "chunks": (1024,), "dtype": "int32"}
    assert "claims" in refusal(replaced("frame", **huge))
    assert "chunks" in refusal(replaced("area", data=np.zeros((1 << 24,), np.int64)[: 1 << 24], chunks=(1 << 24,)))
    assert "float64" in refusal(replaced("descriptor", data=np.zeros((8, 16))))
    assert "shape (8, 17)" in refusal(replaced("descriptor", data=np.zeros((8, 17), np.float32)))
    assert "values that are not finite" in refusal(replaced("descriptor", data=np.full((8, 16), np.nan, np.float32)))
    assert "or too large" in refusal(replaced("descriptor", data=np.full((8, 16), 3e38, np.float32)))
    assert "damaged at video v0" in refusal(replaced("object_id", data=np.zeros(8, np.int32)))
    for name, value in (("fps", float("nan")), ("height", "tall"), ("settings", "[1]"), ("source", np.zeros(3))):
        path = tmp_path / "attribute.h5"
        shutil.copy(store, path)
        with h5py.File(path, "r+") as file:
            file["videos/v0"].attrs[name] = value
        assert f"the attribute {name} is" in refusal(path)


def test_a_crop_of_a_hundred_million_pixels_is_not_decoded(tmp_path: Path) -> None:
    _, data = cv2.imencode(".jpg", np.zeros((13000, 13000), np.uint8))
    path = tmp_path / "objects.h5"
    with StoreWriter(path, INFO) as writer, writer.video(VideoInfo("v", "", 9, 9, 1.0, "", "f" * 64)) as video:
        for frame in range(3):
            row = np.full(16, frame, np.float32)
            video.add_frame(frame, [ObjectRow(1, row, (0, 0, 1, 1), 1, thumbnail=data.tobytes())], np.zeros((9, 16)))
    assert "13000x13000" in refusal(path)
    with DescriptorStore(path) as store:
        query = queries_of_store(f"{path}#v/1")[0]
        with pytest.raises(InputError, match="13000x13000"):
            write_contact_sheet(tmp_path / "a.png", store, query, search_objects(store, replace(query, store=None)))
        with pytest.raises(InputError, match="13000x13000"):
            write_map_page(tmp_path / "a.html", make_map(store, method="pca"))
    assert not (tmp_path / "a.png").exists() and not (tmp_path / "a.html").exists()


FILLS_THE_DISK = """
import resource, sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from hodor_cli.errors import OutputError
from test_descriptors_store import INFO, StoreWriter, add, video_info
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with StoreWriter(sys.argv[1], INFO) as writer:
        add(writer, video_info("short"), frames=1)
        add(writer, video_info("long"), frames=3000)
except OutputError as error:
    assert "\\n" not in str(error)
    sys.exit(6)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_ends_in_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    """No crash, whatever moment the disk is full at; afterwards the file can be read and written."""
    beside = str(Path(__file__).parent)
    codes = []
    for kilobytes in (1, 60, 400, 5000):
        path = tmp_path / f"{kilobytes}.h5"
        command = [sys.executable, "-c", FILLS_THE_DISK, str(path), str(kilobytes << 10), beside]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        codes.append(result.returncode)
        assert result.returncode in (0, 6), (kilobytes, result.returncode, result.stderr[-600:])
        assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.lock"))
        if path.exists():
            with DescriptorStore(path) as held:
                assert set(held.videos) <= {"short", "long"}
        with StoreWriter(path, INFO.__class__("f" * 64, 8, "toy")) as writer:
            assert set(writer.videos) <= {"short", "long"}
        assert not (tmp_path / f"{path.name}.pending").exists()
    assert codes[0] == 6 and codes[-1] == 0


def test_a_second_result_of_a_video_does_not_replace_the_first(tmp_path: Path) -> None:
    def result(folder: str, content: str) -> VideoInfo:
        return VideoInfo("clip", "/clip.mp4", 4, 6, 25.0, content, "f" * 64, result=folder)

    def write(info: VideoInfo, value: float) -> None:
        with StoreWriter(tmp_path / "objects.h5", INFO) as writer, writer.video(info) as video:
            video.add_frame(0, [ObjectRow(1, np.full(16, value, np.float32), (0, 0, 1, 1), 1)], None)

    write(result("/a.hodor", "1"), 1)
    with pytest.raises(UsageError, match=r"has a video clip made from .*/a\.hodor.*another `name`"):
        write(result("/b.hodor", "2"), 2)
    with pytest.raises(UsageError, match="; write to another file"):  # a data set's videos have no `name`
        write(replace(result("/DAVIS/Annotations/clip", "2"), kind="davis"), 2)
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert store.rows("clip").descriptor[0, 0] == 1
    write(result("/a.hodor", "3"), 3)  # the same result, made anew
    with DescriptorStore(tmp_path / "objects.h5") as store:
        assert store.rows("clip").descriptor[0, 0] == 3


def test_what_lies_beside_a_file_is_only_touched_if_it_is_hodors(store: Path, tmp_path: Path) -> None:
    pending = tmp_path / "objects.h5.pending"
    pending.mkdir()
    (pending / "notes.h5").write_text("mine")
    (pending / "00000007.h5").write_bytes(store.read_bytes()[:500])  # what a power cut leaves
    StoreWriter(store, INFO).close()
    assert [file.name for file in pending.iterdir()] == ["notes.h5"]
    shutil.rmtree(pending)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "00000001.h5").write_bytes(store.read_bytes())
    pending.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link or a file where"):
        StoreWriter(store, INFO)
    assert (tmp_path / "elsewhere" / "00000001.h5").exists()
    link = tmp_path / "link.h5"
    link.symlink_to(store)
    with pytest.raises(OutputError, match="a link"):
        StoreWriter(link, INFO)


def test_names_stay_text_wherever_they_are_written(tmp_path: Path) -> None:
    names = ["=cmd()", "-1+2", "@x", "\x1b[31mred", "<b>&", "__ATLAS__", "$x$"]
    with StoreWriter(tmp_path / "objects.h5", INFO) as writer:
        for number, name in enumerate(names):
            with writer.video(VideoInfo(name, "", 9, 9, 1.0, "", "f" * 64)) as video:
                row = ObjectRow(1, np.random.default_rng(number).normal(size=16).astype(np.float32), (0, 0, 1, 1), 1)
                video.add_frame(0, [row], None)
    with DescriptorStore(tmp_path / "objects.h5") as store:
        found = make_map(store, method="pca")
    write_points_csv(tmp_path / "map.csv", found)
    with (tmp_path / "map.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["video"] for row in rows} == {
        "'=cmd()", "'-1+2", "'@x", "\\x1b[31mred", "<b>&", "__ATLAS__", "$x$",
    }  # fmt: skip
    assert any(row["x"].startswith("-") for row in rows)  # numbers stay numbers
    write_map_page(tmp_path / "map.html", found, title="\x1b</title>")
    page = (tmp_path / "map.html").read_text()
    assert "\x1b" not in page and "<b>" not in page and page.count("</title>") == 1 and '"__ATLAS__"' in page


def test_a_map_is_written_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    assert [str(file) for file in map_files("a.png")] == ["a.png", "a.html", "a.csv"]
    assert [str(file) for file in map_files("v1.2")] == ["v1.2.png", "v1.2.html", "v1.2.csv"]
    assert map_files("d/")[0] == map_files("d")[0] == Path("d/map.png")
    for wrong in (".", "..", "", "/", "none/", "none/a"):
        with pytest.raises(OutputError):
            map_files(wrong)
    (tmp_path / "b.html").symlink_to("elsewhere")
    with pytest.raises(OutputError, match="a link"):
        map_files("b")


def test_references_to_names_with_a_hash(tmp_path: Path) -> None:
    (tmp_path / "a#b.h5").touch()
    assert parse_reference(f"{tmp_path}/a#b.h5#take#2/1") == (tmp_path / "a#b.h5", "take#2", 1)
    with pytest.raises(UsageError):
        parse_reference("a.h5#bear/99999999999")
