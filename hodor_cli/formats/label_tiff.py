"""Label TIFFs: read from one file with a page for each frame, written in the format of the Cell Tracking Challenge."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL.Image

from hodor_cli.datasets.labels.decode import LabelReader
from hodor_cli.datasets.labels.mask_values import mask_from_values
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Size, picture_of, require_clip
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.label_png import MAX_ID, ids_in
from hodor_cli.images.picture import read_header, read_stored


def find(path: Path) -> Path | None:
    with suppress(InputError):  # for a folder, or for a damaged file, which `read_mask` reports
        header = read_header(path)
        return path if header.pages > 1 and header.one_valued else None
    return None


def read(path: Path, size: Size | None = None) -> Annotations:
    """Read a TIFF whose pages are the label maps of the frames. Raises InputError."""
    pictures: list[Picture] = []
    reader = LabelReader(path.name)  # a value means the same on all pages
    for page in range(read_header(path).pages):
        values = read_stored(path, "a label TIFF", page=page).values
        if pictures and values.shape != pictures[0].size:
            raise InputError(f"page {page} of {path} differs in size from the first; all pages must have one size")
        mask_from_values(values, path)  # raises for values that are not ids, and for soft edges
        labels = reader.read(values.astype(np.uint16)).ids
        pictures.append(picture_of(f"{page:05d}", labels, frame=page))
    return Annotations("a label TIFF", path, pictures, notes=tuple(reader.notes), video=path.stem)


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write the Cell Tracking Challenge's mask000.tif, ... (16-bit ids) and res_track.txt (id, first frame, last frame,
    parent). An object that returns after an absence starts a new track, whose parent is its previous track; the parent
    of a first track is 0. A frame without objects has an empty mask."""
    require_clip(annotations, "ctc")
    # A tool lists only the frames of a video that have objects; a result, which is no list, has each frame of its run.
    pictures = _every_frame(annotations.pictures) if isinstance(annotations.pictures, list) else annotations.pictures
    tracks: list[list[int]] = []
    latest: dict[int, int] = {}  # object id -> index of its latest track
    digits = max(3, len(str(max(0, len(pictures) - 1))))
    ids = {shape.object_id for picture in pictures for shape in picture.shapes}
    above = max(ids, default=0) + 1
    free = (label for label in (*range(above, MAX_ID + 1), *range(1, above)) if label not in ids)
    for frame, picture in enumerate(pictures):
        labels = picture.labels.copy()
        for object_id in ids_in(labels):
            place = latest.get(object_id)
            if place is None or tracks[place][2] < frame - 1:
                label, parent = (object_id, 0) if place is None else (next(free, 0), tracks[place][0])
                if not label:
                    raise InputError(f"the objects of {annotations.path} are absent so often that no ids are left")
                tracks.append([label, frame, frame, parent])
                latest[object_id] = len(tracks) - 1
            tracks[latest[object_id]][2] = frame
            if (label := tracks[latest[object_id]][0]) != object_id:
                labels[picture.labels == object_id] = label
        file = io.BytesIO()  # because libtiff does not say why it cannot write to a full disk
        PIL.Image.fromarray(labels).save(file, "TIFF", compression="tiff_deflate")
        out.place(f"mask{frame:0{digits}d}.tif").write_bytes(file.getvalue())
    out.text("res_track.txt", "\n".join(" ".join(map(str, track)) for track in tracks))


def _every_frame(pictures: list[Picture]) -> list[Picture]:
    found: list[Picture] = []
    for picture in pictures:
        missing = 0 if picture.frame is None else picture.frame - len(found)
        found += [Picture("", picture.size, ())] * missing + [picture]
    return found
