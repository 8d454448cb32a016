"""Converts the annotations of another tool to temporary folders of label PNGs, which evaluation reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hodor_cli.datasets.folders import depth
from hodor_cli.errors import InputError
from hodor_cli.formats.label_pictures import write_png
from hodor_cli.formats.recognise import read_annotations, reader_of
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.embedded import picture_bytes
from hodor_cli.images.label_png import write_label_png
from hodor_cli.images.paths import exists
from hodor_cli.images.picture import PICTURE_SUFFIXES


@contextmanager
def sequence_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary data set in the DAVIS layout with the frames and true masks of another tool's `path`; `path`
    itself if it already is a folder of videos. Raises InputError if the frames are not beside their annotations."""
    if not exists(path) or depth(path / "Annotations") > 0 or reader_of(path) is None:
        yield path
        return
    found = read_annotations(path)
    if not found.tracked:
        raise InputError(
            f"{path} does not say which object is which from frame to frame, so it cannot be scored against; give each "
            "object a group, a track or a name of its own"
        )
    name = found.video or path.stem
    with tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        frames, masks = Path(folder) / "JPEGImages" / name, Path(folder) / "Annotations" / name
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for picture in found.pictures:
            if picture.file is None:
                raise InputError(
                    f"the frame {picture.name} does not lie beside {path}; put the frames into images/ there"
                )
            file = picture.file
            ending = file.suffix if file.suffix.lower() in PICTURE_SUFFIXES else ".png"
            (frames / f"{file.stem}{ending}").write_bytes(picture_bytes(file))
            write_label_png(masks / f"{file.stem}.png", picture.labels)
        yield Path(folder)


@contextmanager
def mask_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder of label PNGs with the masks of another tool's `path`; `path` itself if it already is a
    folder of masks."""
    if not exists(path) or reader_of(path) is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        write_png(read_annotations(path), FolderWriter(Path(folder)))
        yield Path(folder)
