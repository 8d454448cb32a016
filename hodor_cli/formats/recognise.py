"""Recognises the tool that wrote a file or folder by its content, and lists all readers and writers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from hodor_cli.datasets.coco_find import annotations_in
from hodor_cli.datasets.folders import masks_in, suggestion
from hodor_cli.errors import HodorError, InputError, UsageError
from hodor_cli.formats import coco, cvat, label_pictures, label_studio, labelme, media, tables, yolo
from hodor_cli.formats.annotations import Annotations, parse_json
from hodor_cli.formats.numbering import number_together
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import read_start, read_utf8, require_exists, summarise_files, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

Size = tuple[int, int]
_TOOLS = "LabelMe, COCO, YOLO segmentation, CVAT, Label Studio, Pascal VOC, label pictures and label TIFFs are read"


@dataclass(frozen=True)
class Writer:
    """An output format: its name, a description, and the function. media: it needs the frames' pixels."""

    name: str
    about: str
    write: Callable[[Annotations, FolderWriter], None]
    media: bool = False


WRITERS = {
    writer.name: writer
    for writer in (
        Writer("coco", "annotations/instances_default.json with run lengths and track_id", coco.write),
        Writer("coco-video", "annotations.json: run lengths by object (YouTube-VIS)", coco.write_video),
        Writer("yolo", "labels/train/NAME.txt and data.yaml", yolo.write),
        Writer("labelme", "NAME.json with polygons and group_id", labelme.write),
        Writer("cvat", "annotations.xml: tracks of a video, masks of photographs", cvat.write),
        Writer("png", "label PNGs in DAVIS's colours", label_pictures.write_png),
        Writer("ctc", "mask000.tif and res_track.txt (Cell Tracking Challenge)", label_pictures.write_ctc),
        Writer("csv", "tracks.csv: frame, id, box, area, centre, confidence", tables.write),
        Writer("cutouts", "ID_NAME/FRAME.png, each object with alpha", media.write_cutouts, media=True),
        Writer("prores", "NAME.mov, ProRes 4444 with alpha", media.write_prores, media=True),
        Writer("webm", "NAME.webm, VP9 with alpha", media.write_webm, media=True),
        Writer("green", "NAME.mp4, objects on green", media.write_green, media=True),
        Writer("matte", "NAME.mp4, objects white on black", media.write_matte, media=True),
    )
}


#: Marks a key as absent.
_ABSENT = msgspec.Raw(b"")


class _Head(msgspec.Struct):
    """The keys by which a tool's JSON object is recognised."""

    shapes: msgspec.Raw = _ABSENT
    images: msgspec.Raw = _ABSENT
    videos: msgspec.Raw = _ABSENT
    annotations: msgspec.Raw = _ABSENT
    meta: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class Found(NamedTuple):
    """What another tool wrote at `path`. tool: a key of `_READERS`. file: what its reader reads, in `path` perhaps."""

    tool: str
    file: Path
    path: Path

    def read(self, size: Size | None) -> Annotations:
        """The annotations without ids. size: (height, width) of the pictures, where the file does not say it. Raises
        InputError."""
        if self.tool == "coco" and self.path.is_dir():
            return coco.read(self.file, self.path)
        return replace(_READERS[self.tool](self.file, size), path=self.path)


def find_tool(path: Path) -> Found | None:
    """What tool wrote the file or folder; None for masks (a picture, an array, a folder of them) and unknown files."""
    suffix, kind = path.suffix.lower(), None
    if path.is_dir():
        found = _in_folder(path)
        return None if found is None else Found(*found, path)
    if suffix == ".json":
        kind = _json_kind(path)
    elif suffix == ".xml":
        kind = "cvat" if _is_cvat(path) else None
    elif suffix in (".yaml", ".yml") or (suffix == ".txt" and yolo.is_labels(path)):
        kind = "yolo"
    elif suffix in (".tif", ".tiff"):
        with suppress(InputError):  # the reader of masks reports what is wrong
            header = read_header(path)
            kind = "stack" if header.pages > 1 and header.mode in ("L", "I", "I;16", "I;16B", "1", "P") else None
    return None if kind is None else Found(kind, path, path)


def _in_folder(folder: Path) -> tuple[str, Path] | None:
    """The tool that wrote a folder, and what its reader reads there."""
    if any(name.endswith(".json") and _json_kind(folder / name) == "labelme" for name in visible_files(folder)[:50]):
        return "labelme", folder
    with suppress(HodorError):  # several files: the reader of COCO reports them
        file = annotations_in(folder)
        if file is not None and (kind := _json_kind(file)) is not None:
            return kind, file
    named = [name for name in visible_files(folder) if name.lower().endswith(".xml")]
    if len(named) == 1 and _is_cvat(folder / named[0]):
        return "cvat", folder / named[0]
    if label_pictures.voc_folder(folder) is not None:
        return "voc", folder
    return ("yolo", folder) if yolo.find_labels(folder) else None


def read_annotations(path: Path | str, size: Size | None = None) -> Annotations:
    """Read the annotations of any known tool, or masks, and give the objects ids (`number_together`).

        for picture in read_annotations("photos/").pictures:
            print(picture.name, picture.labels.shape, picture.object_ids)

    path: a file or folder of a tool, a folder of label pictures, or one mask. size: (height, width) of the pictures,
    for a format that does not store it (YOLO) without pictures beside it. Raises InputError for an unknown format.
    """
    path = Path(path).expanduser()
    require_exists(path, "file or folder of annotations")
    if (found := find_tool(path)) is not None:
        return number_together([found.read(size)])[0]
    below = (path, path / "masks", path / "Annotations")  # of a result, and of an export with pictures
    if path.is_dir() and (masks := next(filter(masks_in, below), None)) is not None:
        return label_pictures.read_folder(masks, path)
    if path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES | {".npy"}:
        return label_pictures.read_one(path)
    if path.is_file() and path.suffix.lower() == ".json":
        parse_json(path, object, "JSON")  # says where it is damaged
    held = summarise_files(visible_files(path)) if path.is_dir() else ""
    what = "holds no annotations" if path.is_dir() else "is not a file"
    raise InputError(f"{path} {what} of a tool that hodor knows{held and f', only {held}'}; {_TOOLS}")


def writer_of(name: str) -> Writer:
    """The format called `name`. Raises UsageError."""
    if name in WRITERS:
        return WRITERS[name]
    raise UsageError(f"there is no format '{name}' to write{suggestion(name, WRITERS, 'there are')}")


def _is_cvat(path: Path) -> bool:
    return b"<annotations" in read_start(path, 1 << 16).replace(b"\0", b"")  # in UTF-16, too


def _json_kind(path: Path) -> str | None:
    """The tool that wrote a JSON file; None if it is unknown or the file is damaged."""
    with suppress(OSError):
        state = path.stat()
        return _kind_of(path, state.st_mtime_ns, state.st_size)
    return None


@lru_cache(maxsize=256)  # the kind of a file of hundreds of megabytes is needed several times
def _kind_of(path: Path, _time: int, _size: int) -> str | None:
    try:
        data = read_utf8(path)
        if data.lstrip()[:1] == b"[":
            tasks = msgspec.json.decode(data, type=list[dict[str, msgspec.Raw]])
            known = tasks and ({"data", "annotations", "completions"} & tasks[0].keys() or b'"original_width"' in data)
            return "label-studio" if known else None
        head = msgspec.json.decode(data, type=_Head)
    except (InputError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    keys = {key for key in head.__struct_fields__ if bytes(getattr(head, key))}
    if "shapes" in keys:
        return "labelme"
    if {"videos", "annotations"} <= keys:
        return "video"
    if "images" in keys and keys & {"annotations", "meta"}:
        return "coco"
    return "label-studio" if {"data", "annotations"} <= keys else None


_READERS: dict[str, Callable[[Path, Size | None], Annotations]] = {
    "labelme": lambda path, size: labelme.read(path),
    "coco": lambda path, size: coco.read(path),
    "video": lambda path, size: coco.read_video(path),
    "label-studio": lambda path, size: label_studio.read(path),
    "cvat": lambda path, size: cvat.read(path),
    "voc": lambda path, size: label_pictures.read_voc(path),
    "stack": lambda path, size: label_pictures.read_stack(path),
    "yolo": yolo.read,
}
