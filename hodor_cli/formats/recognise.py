"""The list of all formats; recognises the format of a file or folder by its content, and reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from hodor_cli.datasets.coco_find import annotations_beside
from hodor_cli.datasets.folders import suggestion
from hodor_cli.datasets.parsing import parse_json
from hodor_cli.errors import InputError, UsageError
from hodor_cli.formats import (
    coco,
    coco_video,
    cvat,
    label_png,
    label_studio,
    label_tiff,
    labelme,
    media,
    tables,
    voc,
    yolo,
)
from hodor_cli.formats.annotations import Annotations, Size
from hodor_cli.formats.numbering import number_together
from hodor_cli.formats.photograph_masks import read_labelled
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import (
    listed,
    plural,
    require_exists,
    size_text,
    summarise_files,
    visible_files,
    visible_folders,
)
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

_KNOWN = "LabelMe, COCO, YOLO, CVAT, Label Studio (not JSON-MIN), Pascal VOC, label pictures and label TIFFs are read"


class Reader(Protocol):
    """The functions that the module of a readable format has; labelme.py is an example."""

    def find(self, path: Path, /) -> Path | None:
        """The path to pass to `read`: `path` itself, or a file in this folder; None for another format. Never raises
        for a damaged file."""

    def read(self, path: Path, /, size: Size | None = None) -> Annotations:
        """Read annotations, without ids; `faults` says which files of a folder cannot be read. size: (height, width) of
        the pictures, if the file does not store it. Raises InputError."""


#: In the order in which they are tried, with the endings of their files, in lower case; empty if only folders are read.
_READERS: tuple[tuple[Reader, Collection[str]], ...] = (
    (labelme, (".json",)),
    (coco_video, (".json",)),
    (coco, (".json",)),
    (label_studio, (".json",)),
    (cvat, (".xml",)),
    (voc, ()),
    (label_tiff, (".tif", ".tiff")),
    (yolo, (".txt", ".yaml", ".yml")),
)


@dataclass(frozen=True)
class Writer:
    """A writable format: its name, a description, and the function.

    media: whether it needs the frames' pixels. pictures: whether the frames can be written next to the annotations.
    polygons: whether outlines can be simplified.
    """

    name: str
    about: str
    write: Callable[[Annotations, FolderWriter], None]
    media: bool = False
    pictures: bool = True
    polygons: bool = False


WRITERS = {
    writer.name: writer
    for writer in (
        Writer("coco", "annotations/instances_default.json with run lengths and track_id", coco.write),
        Writer("coco-video", "annotations.json: run lengths by object (YouTube-VIS)", coco_video.write),
        Writer("yolo", "labels/train/NAME.txt and data.yaml", yolo.write, polygons=True),
        Writer("labelme", "NAME.json with polygons and group_id", labelme.write, polygons=True),
        Writer("cvat", "annotations.xml: tracks of a video, masks of photographs", cvat.write, polygons=True),
        Writer("png", "label PNGs in DAVIS's colours", label_png.write),
        Writer("ctc", "mask000.tif and res_track.txt (Cell Tracking Challenge)", label_tiff.write, pictures=False),
        Writer("csv", "tracks.csv: frame, id, box, area, centre, confidence", tables.write, pictures=False),
        Writer("cutouts", "ID_NAME/FRAME.png, each object with alpha", media.write_cutouts, media=True, pictures=False),
        Writer("prores", "NAME.mov, ProRes 4444 with alpha", media.write_prores, media=True, pictures=False),
        Writer("webm", "NAME.webm, VP9 with alpha", media.write_webm, media=True, pictures=False),
        Writer("green", "NAME.mp4, objects on green", media.write_green, media=True, pictures=False),
        Writer("matte", "NAME.mp4, objects white on black", media.write_matte, media=True, pictures=False),
    )
}


class Found(NamedTuple):
    """Another tool's file or folder at `path`, with the reader and the path that it reads."""

    reader: Reader
    file: Path
    path: Path

    def read(self, size: Size | None = None, *, whole: bool = True) -> Annotations:
        """Call `Reader.read`. whole: raise InputError if some files of a folder cannot be read."""
        found = replace(self.reader.read(self.file, size), path=self.path)
        if self.path.is_dir() and (beside := annotations_beside(self.file)):
            unread = listed((one.name for one in beside), 3)
            note = f"{self.path}: only {self.file.name} is read, not {unread}; give a file to read another"
            found = replace(found, notes=(*found.notes, note))
        if whole and found.faults:
            others = f" ({plural(len(found.faults) - 1, 'other file')} of {self.path} cannot be read either)"
            raise InputError(found.faults[0] + (others if len(found.faults) > 1 else ""))
        return found


def find_tool(path: Path) -> Found | None:
    """The annotations of another tool at `path`; None for masks (a picture, an array, a folder of them) and others."""
    return _find(path, _READERS)


def _find(path: Path, readers: Iterable[tuple[Reader, Collection[str]]]) -> Found | None:
    for reader, suffixes in readers:
        likely = path.is_dir() or path.suffix.lower() in suffixes
        if likely and (file := reader.find(path)) is not None:
            return Found(reader, file, path)
    return None


def read_annotations(path: Path | str, size: Size | None = None) -> Annotations:
    """Read the annotations of any known tool, or masks, and assign object ids (`number_together`).

        for picture in read_annotations("photos/").pictures:
            print(picture.name, picture.labels.shape, picture.object_ids)

    path: a tool's file or folder, a folder of label pictures, or one mask. size: (height, width) of the pictures,
    needed if the format does not store it (YOLO) and they are missing. Raises InputError for an unknown format.
    """
    path = Path(path).expanduser()
    require_exists(path, "file or folder of annotations")
    if find_tool(path) is None and path.is_dir() and (photographs := read_labelled(path)) is not None:
        masks, faults = photographs
        if wrong := faults.sentence(use="read"):
            raise InputError(wrong)
        read = number_together([masks])[0]
        # A value does not mean the same object in two photographs. The first note is what `origin` says.
        return replace(read, tracked=False, names={}, notes=(*faults.notes()[1:], *read.notes))
    if (found := _find(path, (*_READERS, (label_png, {*PICTURE_SUFFIXES, ".npy"})))) is not None:
        read = number_together([found.read(size)])[0]
        return replace(read, notes=(*read.notes, *_other_sizes(read)))
    if path.is_file() and path.suffix.lower() == ".json":
        parse_json(path, object, "JSON")  # raises if it is damaged, and says where
    held = summarise_files(visible_files(path)) if path.is_dir() else ""
    what = "holds no annotations" if path.is_dir() else "is not a file"
    inner = next(filter(find_tool, visible_folders(path)), None) if path.is_dir() else None
    way_out = _KNOWN if inner is None else f"give one of its folders, such as {inner}"
    raise InputError(f"{path} {what} of a tool that hodor knows{held and f', only {held}'}; {way_out}")


def _other_sizes(annotations: Annotations) -> list[str]:
    """A sentence about pictures whose size differs from the annotated one, so that outlines do not fit."""
    wrong = []
    for picture in annotations.pictures:
        with suppress(InputError):  # a damaged picture is reported where it is read
            if picture.file is not None and (actual := read_header(picture.file).size) != picture.size:
                wrong.append(f"{picture.name} ({size_text(actual)} instead of {size_text(picture.size)})")
    count = plural(len(wrong), "picture")
    return [f"the size of {count} differs from the annotated one: {listed(wrong, 2)}"] if wrong else []


def writer_of(name: str) -> Writer:
    """The writable format called `name`. Raises UsageError if there is none."""
    if name in WRITERS:
        return WRITERS[name]
    raise UsageError(f"there is no format '{name}' to write{suggestion(name, WRITERS, 'there are')}")
