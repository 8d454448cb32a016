"""DICOM as a stream of frames: a folder of files (a series), or one file with many frames. Needs pydicom."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.images.paths import listed, plural, read_start, readable_name, size_text, visible_files
from hodor_cli.images.picture import Warn
from hodor_cli.images.pillow import MOST_PIXELS
from hodor_cli.images.value_range import ValueRange, measure_range, measured_places, scale_to_rgb8
from hodor_cli.video.frames import ListedSource, ReadSettings
from hodor_cli.video.image_folder import FOLDER_FPS

#: Suffixes that are not part of a frame's name. Many files have no suffix, but dots in their names.
_SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True)
class _Header:
    """What is used of a file's header: number: instance number, None if missing. shown: time per frame in ms."""

    file: Path
    size: tuple[int, int]
    number: int | None
    series: str
    title: str
    frames: int
    shown: float


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its content."""
    return read_start(path, 132)[128:] == b"DICM"


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder in natural order, without its index (DICOMDIR)."""
    files = (folder / name for name in visible_files(folder) if name.upper() != "DICOMDIR")
    return [file for file in files if is_dicom(file)]


class DicomSource(ListedSource):
    """Slices or frames in the order of their instance numbers; a folder's frames are named like its files.

    Grey values are in the modality's units (Hounsfield units in CT), scaled by one range for the whole series:
    `value_range`, or measured on a few frames. Raises InputError if pydicom or a decoder is not installed, a file is
    damaged, the folder holds several series or sizes, or `start` is past the end.
    """

    def __init__(self, path: Path, files: Sequence[Path], settings: ReadSettings) -> None:
        name = path.resolve().name if path.is_dir() else _frame_name(path)
        super().__init__(str(path), name, settings)
        ordered = _ordered(path, [header for file in files if (header := _header(file)).size != (0, 0)], self.warn)
        count = ordered[0].frames
        self.kind = "video" if path.is_file() else "folder"
        self.height, self.width = ordered[0].size
        shown = ordered[0].shown
        self.fps = 1000 / shown if count > 1 and 1 <= shown <= 60_000 else FOLDER_FPS
        #: For each frame, its file and its position in the file.
        self._places = [(header.file, place) for header in ordered for place in range(count)]
        self.names = [f"{place:05d}" if count > 1 else _frame_name(file) for file, place in self._places]
        if len(set(self.names)) < len(self.names):
            raise InputError(f"{path} holds two files of the same name with different suffixes; keep one of them")
        self.require_start(len(self.names), "picture")
        self.files = [file for file, _ in self._places[self.start : self.end]]
        self.length = len(self.files)
        if self.value_range is None:
            self.value_range = self._measured()

    def _read(self, index: int) -> NDArray[np.uint8]:
        file, place = self._places[index]
        values, inverted = _values(file, place)
        if values.shape[:2] != (self.height, self.width):
            raise InputError(f"{file} does not have the size that its header says; export the series again")
        image = scale_to_rgb8(values, self.value_range or ValueRange(0, 255))
        return np.asarray(255 - image if inverted else image)

    def _measured(self) -> ValueRange | None:
        """The value range of a few frames; None for 8-bit values."""
        found = [_values(*self._places[place])[0] for place in measured_places(len(self._places))]
        if all(values.dtype == np.uint8 for values in found):
            return None
        return measure_range(found, self.warn)


def _frame_name(file: Path) -> str:
    return readable_name(file.stem if file.suffix.lower() in _SUFFIXES else file.name)


def _ordered(path: Path, headers: list[_Header], warn: Warn) -> list[_Header]:
    """The files of one series in order of their instance numbers or, with a warning, of their names if the numbers are
    not unique."""
    if not headers:
        raise InputError(f"{path} holds no DICOM file with a picture")
    series = {header.series: header.title for header in headers}
    if len(series) > 1:
        raise InputError(f"{path} holds {len(series)} DICOM series ({listed(series.values())}); give a folder with one")
    sizes = {header.size for header in headers}
    if len(sizes) > 1:
        found = listed(map(size_text, sorted(sizes)))
        raise InputError(f"the pictures of {path} differ in size ({found}); give a folder with those of one size")
    if headers[0].size[0] * headers[0].size[1] > MOST_PIXELS:
        raise InputError(f"the pictures of {path} are too large to read")
    many = next((header.file for header in headers if header.frames > 1), None)
    if many is not None and len(headers) > 1:
        raise InputError(f"{many} has many frames, but {path} has {plural(len(headers), 'file')}; give the file itself")
    numbers = [header.number for header in headers if header.number is not None]
    if len(set(numbers)) < len(headers):
        if len(headers) > 1:
            warn(f"{path} has no unique instance numbers, so it is read by file names; rename them if that is wrong")
        return headers
    return sorted(headers, key=lambda header: header.number or 0)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever pydicom raises for a damaged file into one InputError; its warnings are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise InputError(f"{file} is DICOM, which needs another package: pip install 'hodor-cli[dicom]'") from error
    except Exception as error:
        said = " ".join(str(error).split())[:400].rstrip(".")  # for compressed files, names the package needed
        raise InputError(f"{file} is not a readable DICOM file: {said}") from error


def _header(file: Path) -> _Header:
    with _reading(file):
        import pydicom

        data = pydicom.dcmread(file, stop_before_pixels=True)
        number = data.get("InstanceNumber")
        return _Header(
            file,
            (int(data.get("Rows") or 0), int(data.get("Columns") or 0)),
            None if number is None else int(number),
            str(data.get("SeriesInstanceUID")),
            str(data.get("SeriesDescription") or data.get("SeriesNumber") or "without a name"),
            max(1, int(data.get("NumberOfFrames") or 1)),
            float(data.get("FrameTime") or 0),
        )


def _values(file: Path, place: int) -> tuple[NDArray[Any], bool]:
    """(H, W) grey or (H, W, 3) RGB values of a frame, and whether low values are bright."""
    with _reading(file):
        import pydicom
        from pydicom.pixels import apply_modality_lut, pixel_array

        data = pydicom.dcmread(file, stop_before_pixels=True)
        values = pixel_array(file, index=place)  # given a file, reads only that frame
        kind = str(data.get("PhotometricInterpretation", ""))
        if kind == "PALETTE COLOR":
            raise ValueError("palette colours are not supported; export it in grey or RGB")
        if values.ndim == 2:
            values = np.asarray(apply_modality_lut(values, data))
        return values, kind == "MONOCHROME1"
