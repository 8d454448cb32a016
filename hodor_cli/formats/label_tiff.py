"""Label TIFFs: read from one file with a page for each frame, written as the Cell Tracking Challenge has them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import PIL.Image

from hodor_cli.datasets.labels.mask_values import mask_from_values
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Size, shapes_of
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.picture import read_header, read_stored


def find(path: Path) -> Path | None:
    with suppress(InputError):  # of a folder, and of a damaged file, which the reader of masks reports
        header = read_header(path)
        return path if header.pages > 1 and header.one_valued else None
    return None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read a TIFF whose pages, one whole number per pixel, are the frames' label maps. Raises InputError."""
    pictures: list[Picture] = []
    for page in range(read_header(path).pages):
        values = read_stored(path, "a label TIFF", page=page).values
        if pictures and values.shape != pictures[0].size:
            raise InputError(f"page {page} of {path} has another size than the first; a sequence has one size")
        labels = mask_from_values(values, path).labels
        pictures.append(Picture(f"{page:05d}", (labels.shape[0], labels.shape[1]), shapes_of(labels), page))
    return Annotations("a label TIFF", path, pictures, video=path.stem)


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write the Cell Tracking Challenge's mask000.tif ... (16-bit ids) and res_track.txt (id, first and last frame,
    parent). An object that returns after an absence begins a new track, whose parent is its earlier track; the parent
    of a first track is 0."""
    tracks: list[list[int]] = []
    running: dict[int, int] = {}  # object id -> place of its track
    numbers: set[int] = set()
    digits = max(3, len(str(max(0, len(annotations.pictures) - 1))))
    free = 1 + max((shape.object_id for picture in annotations.pictures for shape in picture.shapes), default=0)
    for frame, picture in enumerate(annotations.pictures):
        labels = picture.labels.copy()
        for object_id in ids_in(labels):
            place = running.get(object_id)
            if place is None or tracks[place][2] < frame - 1:
                label = object_id if object_id not in numbers else free
                free += label == free
                numbers.add(label)
                parent = 0 if place is None else tracks[place][0]
                tracks.append([label, frame, frame, parent])
                running[object_id] = len(tracks) - 1
            tracks[running[object_id]][2] = frame
            if (label := tracks[running[object_id]][0]) != object_id:
                labels[picture.labels == object_id] = label
        PIL.Image.fromarray(labels).save(out.place(f"mask{frame:0{digits}d}.tif"), compression="tiff_deflate")
    out.text("res_track.txt", "\n".join(" ".join(map(str, track)) for track in tracks))
