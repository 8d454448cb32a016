"""Converts the annotations of another tool to temporary folders of label PNGs, which evaluation reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hodor_cli.datasets.dataset import Dataset, recognise
from hodor_cli.datasets.folders import depth
from hodor_cli.errors import InputError
from hodor_cli.formats.label_pictures import write_png
from hodor_cli.formats.recognise import find_tool, read_annotations
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import exists


@contextmanager
def open_benchmark(path: Path) -> Iterator[Dataset]:
    """Yield the data set in a folder, or that of another tool's file or folder, as long as the block runs.

    Raises DataError if it is none, and InputError if the frames of another tool's are not beside their annotations.
    """
    if not exists(path) or depth(path / "Annotations") > 0 or find_tool(path) is None:
        yield recognise(path)
        return
    found = read_annotations(path)
    if not found.tracked:
        raise InputError(
            f"{path} does not say which object is which from frame to frame, so it cannot be scored against; give each "
            "object a group, a track or a name of its own"
        )
    if (missing := next((picture for picture in found.pictures if picture.file is None), None)) is not None:
        raise InputError(f"the frame {missing.name} does not lie beside {path}; put the frames into images/ there")
    with tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        write_png(found, FolderWriter(Path(folder), frames=True), found.video or path.stem)
        yield replace(recognise(Path(folder)), root=path, layout=f"a video of {found.tool}")


@contextmanager
def mask_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder of label PNGs with the masks of another tool's `path`; `path` itself if it already is a
    folder of masks."""
    if not exists(path) or find_tool(path) is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hodor-") as folder:
        write_png(read_annotations(path), FolderWriter(Path(folder)))
        yield Path(folder)
