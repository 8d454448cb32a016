"""Recognises the tool that wrote a file or folder by its content, and lists all readers and writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import msgspec

from hodor_cli.datasets.coco_find import annotations_in
from hodor_cli.datasets.folders import masks_in
from hodor_cli.errors import HodorError, InputError, UsageError
from hodor_cli.formats import coco, cvat, label_pictures, label_studio, labelme, media, tables, yolo
from hodor_cli.formats.annotations import Annotations, numbered
from hodor_cli.formats.parsing import read_bytes
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import require_exists, summarise_files, visible_files
from hodor_cli.images.picture import PICTURE_SUFFIXES

Size = tuple[int, int]
Reader = Callable[[Path, "Size | None"], Annotations]
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
        Writer("coco", "instances.json with run lengths and track_id", coco.write),
        Writer("coco-video", "annotations.json: run lengths by object (YouTube-VIS)", coco.write_video),
        Writer("yolo", "labels/NAME.txt and data.yaml", yolo.write),
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


def reader_of(path: Path) -> Reader | None:
    """The reader for a file or folder that another tool wrote; None for masks (a picture, an array, a folder of them)
    and for unknown files."""
    if path.is_dir():
        return _folder_reader(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json_reader(path)
    if suffix == ".xml":
        return _plain(cvat.read) if b"<annotations" in read_bytes(path)[: 1 << 16] else None
    if suffix in (".yaml", ".yml") or (suffix == ".txt" and yolo.is_labels(path)):
        return yolo.read
    try:
        return _plain(label_pictures.read_stack) if label_pictures.is_label_stack(path) else None
    except InputError:
        return None  # the reader of masks reports what is wrong


def is_coco(path: Path) -> bool:
    """Whether a file, or the annotations of a folder, are in COCO format. `StillImages` reports their faults."""
    if path.is_dir():
        if any(_json_kind(path / name) == "labelme" for name in visible_files(path)[:50] if name.endswith(".json")):
            return False
        try:
            file = annotations_in(path)
        except HodorError:
            return True  # there are several COCO files
        return file is not None and _json_kind(file) in ("coco", None)
    return path.suffix.lower() == ".json" and _json_kind(path) in ("coco", None)


def read_annotations(path: Path | str, size: Size | None = None) -> Annotations:
    """Read the annotations of any known tool, or masks, and give the objects ids (`numbered`).

        for picture in read_annotations("photos/").pictures:
            print(picture.name, picture.labels.shape, picture.object_ids)

    path: a file or folder of a tool, a folder of label pictures, or one mask. size: (height, width) of the pictures,
    for a format that does not store it (YOLO) without pictures beside it. Raises InputError for an unknown format.
    """
    path = Path(path).expanduser()
    require_exists(path, "file or folder of annotations")
    reader = reader_of(path)
    if reader is None and path.is_dir() and (masks := _masks_below(path)) is not None:
        return label_pictures.read_folder(masks)
    if reader is None and path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES | {".npy"}:
        return label_pictures.read_one(path)
    if reader is None:
        raise InputError(unknown(path))
    return numbered(reader(path, size))


def unknown(path: Path) -> str:
    """The sentence about a file or folder of unknown format."""
    what = f"holds {summarise_files(visible_files(path)) or 'no files'}" if path.is_dir() else "is not a file"
    return f"{path} {what} of a tool that hodor knows; {_TOOLS}"


def writer_of(name: str) -> Writer:
    """The format called `name`. Raises UsageError."""
    if name in WRITERS:
        return WRITERS[name]
    import difflib

    close = difflib.get_close_matches(name, WRITERS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(WRITERS)}"
    raise UsageError(f"there is no format '{name}' to write; {hint}")


def _folder_reader(folder: Path) -> Reader | None:
    if any(name.endswith(".json") and _json_kind(folder / name) == "labelme" for name in visible_files(folder)[:50]):
        return _plain(labelme.read)
    if (folder / "annotations.xml").is_file():
        return lambda path, size: replace(cvat.read(path / "annotations.xml"), path=path)
    if label_pictures.voc_folder(folder) is not None:
        return _plain(label_pictures.read_voc)
    try:
        file = annotations_in(folder)
    except HodorError:
        file = None
    if file is not None and (kind := _json_kind(file)) is not None:
        if kind == "coco":
            return lambda path, size: coco.read(file, path)
        return lambda path, size: _READ_JSON[kind](file, size)
    return yolo.read if yolo.find_labels(folder) else None


def _json_reader(path: Path) -> Reader | None:
    kind = _json_kind(path)
    return None if kind is None else _READ_JSON[kind]


def _json_kind(path: Path) -> str | None:
    """The tool that wrote a JSON file; None if it is unknown or the file is damaged."""
    try:
        state = path.stat()
    except OSError:
        return None
    return _kind_of(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)  # the kind of a file of hundreds of megabytes is needed several times
def _kind_of(path: Path, _time: int, _size: int) -> str | None:
    try:
        data = read_bytes(path)
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


def _plain(read: Callable[[Path], Annotations]) -> Reader:
    return lambda path, size: read(path)


_READ_JSON: dict[str, Reader] = {
    "labelme": _plain(labelme.read),
    "coco": _plain(coco.read),
    "video": _plain(coco.read_video),
    "label-studio": _plain(label_studio.read),
}


def _masks_below(folder: Path) -> Path | None:
    """The folder of label pictures: this one, or `masks` of a result."""
    return next((place for place in (folder, folder / "masks") if masks_in(place)), None)
