"""DICOM: the series of a folder and the frames of a file, in their order and with their contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import hodor
from PIL import Image

from hodor_cli.errors import InputError
from hodor_cli.video.source import open_source

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")


def written(path: Path, values: np.ndarray, **tags: Any) -> Path:
    """A CT slice (or what `tags` make of it) as pydicom writes it."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SeriesInstanceUID, data.SamplesPerPixel, data.PhotometricInterpretation = "1.2.3", 1, "MONOCHROME2"
    colour = values.ndim == 3 and values.shape[-1] == 3
    data.Rows, data.Columns = values.shape[:2] if colour else values.shape[-2:]
    data.BitsAllocated = data.BitsStored = values.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    if colour:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    elif values.ndim == 3:
        data.NumberOfFrames = len(values)
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    path.parent.mkdir(exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def ct(place: int) -> np.ndarray:
    """Stored values of a slice: air -1000, tissue 40 and bone 900 HU with an intercept of -1024."""
    values = np.full((40, 60), 24, np.int16)
    values[10:30, 10 + place : 30 + place] = 1064
    values[15:20, 40:45] = 1924
    return values


def series(folder: Path, **tags: Any) -> Path:
    for place in range(4):  # names say nothing about the order
        written(folder / f"1.2.840.{(place * 3) % 4}", ct(place), InstanceNumber=place + 1, RescaleIntercept=-1024,
                RescaleSlope=1, **tags)  # fmt: skip
    return folder


def test_a_series_is_read_in_the_order_of_its_instance_numbers(tmp_path: Path) -> None:
    with open_source(series(tmp_path / "ct")) as source:
        frames = list(source)
        assert [frame.name for frame in frames] == ["1.2.840.0", "1.2.840.3", "1.2.840.2", "1.2.840.1"]
        assert source.length == 4 and (source.height, source.width, source.kind) == (40, 60, "folder")
        assert "-1000 becomes black and 900 white" in source.warnings[0]
    for place, frame in enumerate(frames):
        assert frame.image[0, 0].tolist() == [0, 0, 0] and frame.image[17, 42].tolist() == [255, 255, 255]
        tissue = frame.image[..., 0] == round(1040 / 1900 * 255)
        assert tissue.sum() == 400 and tissue[12, 10 + place] and not tissue[12, 9 + place]
    with open_source(tmp_path / "ct", start=1, end=3, value_range=(-160, 240)) as source:
        parts = list(source)
    assert [frame.index for frame in parts] == [1, 2] and parts[0].image[12, 20, 0] == round(200 / 400 * 255)


def test_the_order_of_names_is_told_where_numbers_are_repeated(tmp_path: Path) -> None:
    copy = series(tmp_path / "ct") / "copy"
    copy.write_bytes((tmp_path / "ct" / "1.2.840.0").read_bytes())
    with open_source(tmp_path / "ct") as source:
        assert source.frame_names() == [*(f"1.2.840.{place}" for place in range(4)), "copy"]
        copy.rename(copy.with_name("e\u0301.dcm"))
    with open_source(tmp_path / "ct") as source:
        assert source.frame_names()[-1] == "\u00e9"  # composed, like the names of masks
        assert "has no unique instance numbers" in source.warnings[0]


def test_a_file_of_many_frames_and_dark_on_bright(tmp_path: Path) -> None:
    cine = np.stack([np.full((24, 32), 40 * place, np.uint8) for place in range(5)])
    with open_source(written(tmp_path / "cine.dcm", cine, FrameTime=50)) as source:
        assert source.fps == 20 and source.kind == "video" and source.name == "cine"
        assert [int(frame.image[0, 0, 0]) for frame in source] == [0, 40, 80, 120, 160] and not source.warnings
        assert [round(frame.time, 3) for frame in source.between(2, 4)] == [0.1, 0.15]
    path = written(tmp_path / "x.dcm", cine[3], PhotometricInterpretation="MONOCHROME1")
    with open_source(path) as source:
        assert int(next(iter(source)).image[0, 0, 0]) == 135
    colours = np.zeros((24, 32, 3), np.uint8) + np.array([200, 40, 30], np.uint8)
    with open_source(written(tmp_path / "us.dcm", colours)) as source:
        assert next(iter(source)).image[5, 5].tolist() == [200, 40, 30]


def test_hodor_segment_follows_through_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    series(tmp_path / "ct")
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 10:30] = 1
    Image.fromarray(mask).save("first.png")
    hodor("segment", "ct", "--mask", "first.png", "--min-dim", "64", "--export", "png")
    assert sorted(path.name for path in (tmp_path / "ct.hodor" / "masks").iterdir())[0] == "1.2.840.0.png"


def test_what_is_no_series_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds 2 DICOM series \(head, neck\)"):
        written(tmp_path / "two" / "a.dcm", ct(0), SeriesInstanceUID="1.1", SeriesDescription="head")
        written(tmp_path / "two" / "b.dcm", ct(0), SeriesInstanceUID="1.2", SeriesDescription="neck")
        open_source(tmp_path / "two")
    with pytest.raises(InputError, match=r"differ in size \(60x20, 60x40\); give a folder"):
        written(tmp_path / "sizes" / "a.dcm", ct(0))
        written(tmp_path / "sizes" / "b.dcm", ct(0)[:20])
        open_source(tmp_path / "sizes")
    with pytest.raises(InputError, match="`start` 4 is past the end"):
        open_source(series(tmp_path / "ct"), start=4)
    cut = series(tmp_path / "cut") / "1.2.840.2"
    cut.write_bytes(cut.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"1\.2\.840\.2 is not a readable DICOM file"):
        open_source(tmp_path / "cut")
    palette = written(tmp_path / "palette.dcm", ct(0).astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(InputError, match="palette colours are not supported; export it in grey or RGB"):
        list(open_source(palette))
    noise = tmp_path / "noise.dcm"
    noise.write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 8)
    with pytest.raises(InputError, match=r"noise\.dcm"):
        open_source(noise)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.dcm", ct(0))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pip install 'hodor-cli\[dicom\]'"):
        open_source(path)
