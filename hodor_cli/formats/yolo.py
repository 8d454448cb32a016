"""YOLO segmentation, as Ultralytics and Roboflow read and write it.

Each picture has a text file with a line for each object: its class, then x y x y ... as fractions of the picture's
width and height. `data.yaml` names the classes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture, Shape, Size, drawable, read_each
from hodor_cli.formats.outlines import one_outline
from hodor_cli.formats.writing import FolderWriter
from hodor_cli.images.paths import listed, plural, read_utf8, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES, read_header

_DATA = ("data.yaml", "dataset.yaml", "data.yml")
_OTHER_TEXTS = ("classes.txt", "labelmap.txt", "README.txt", "README.roboflow.txt", "README.dataset.txt", "train.txt")
_SPLITS = ("train", "val", "valid", "test")
#: Matches the name of a split that is not for training, such as `valid` or `val2017`.
_HELD_OUT = re.compile(r"(val|valid|validation|test)[0-9]*").fullmatch


class _Data(msgspec.Struct):
    names: list[str | int] | dict[int, str | int] = msgspec.field(default_factory=list)


def is_labels(path: Path) -> bool:
    """Whether a text file looks like YOLO labels: each line is a class index followed by numbers."""
    lines = read_utf8(path).decode("utf-8", "replace").splitlines()[:20]
    rows = [line.split() for line in lines if line.strip()]
    return bool(rows) and all(len(row) >= 5 and _class_index(row[0]) is not None and _numbers(row[1:]) for row in rows)


def find(path: Path) -> Path | None:
    if path.is_dir():
        return path if find_labels(path) else None
    return path if path.suffix.lower() != ".txt" or is_labels(path) else None


def find_labels(folder: Path) -> list[Path]:
    """The folders of labels in a YOLO data set, of its splits and below them; empty if `folder` is not such a data
    set."""
    places = [folder / "labels", *(folder / split / "labels" for split in _SPLITS)]
    for _ in range(2):
        places += [below for place in places for below in visible_folders(place) if below not in places]
    # Next to data.yaml, any text in `labels` is taken to be labels, so that `read` says what is wrong with a line.
    named = any((folder / name).is_file() for name in _DATA)
    found = [
        place for place in places if any(file.stat().st_size if named else is_labels(file) for file in _texts(place))
    ]
    here = _texts(folder) if named else _texts(folder)[:3]
    return [*found, folder] if any(map(is_labels, here)) else found


def read(path: Path, size: Size | None = None, *, training: bool = False) -> Annotations:
    """Read a file of labels, `data.yaml`, or the folder of a data set. size: (height, width) of pictures that are
    missing. training: leave out the splits for validation and testing, if there are others. Raises InputError."""
    given = path if path.suffix.lower() in (".yaml", ".yml") else None
    path = given.parent if given else path
    folders = find_labels(path) if path.is_dir() else []
    kept = [folder for folder in folders if not (training and any(map(_HELD_OUT, folder.relative_to(path).parts)))]
    left_out, folders = [folder for folder in folders if kept and folder not in kept], kept or folders
    files = [file for folder in folders for file in _texts(folder)] if path.is_dir() else [path]
    if given and not files:
        raise InputError(f"there are no labels next to {given}; give the folder that holds images/ and labels/")
    names = _class_names(path, given)
    together = listed(folder.relative_to(path) for folder in folders)
    notes = [f"{path}: {together} are read together"] if len(folders) > 1 else []
    notes += [f"{path}: {listed(one.relative_to(path) for one in left_out)} left out"] if left_out else []
    notes += [] if names else [f"{path}: no data.yaml names the classes, so they are called by their numbers"]
    pictures, faults = read_each(files, lambda file: _read_file(file, names, size))
    classes = tuple(names[index] for index in sorted(names))
    return Annotations("YOLO", path, pictures, notes=tuple(notes), faults=faults, classes=classes)


def _read_file(file: Path, names: dict[int, str], size: Size | None) -> Picture | None:
    """The picture that a file of labels annotates; None for any other text."""
    picture = _picture_of(file)
    if picture is None and not is_labels(file):
        return None
    shown = size if picture is None else read_header(picture).size
    if shown is None:
        raise InputError(f"YOLO's {file} is relative to a missing picture; put that into images/ next to labels/")
    shapes = drawable(_shapes(file, shown, names), file.name, shown, file)
    return Picture(picture.name if picture else file.stem, shown, shapes, file=picture)


def _shapes(path: Path, size: Size, names: dict[int, str]) -> Iterator[Shape]:
    for number, line in enumerate(read_utf8(path).decode("utf-8", "replace").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        index, values = _class_index(fields[0]), _numbers(fields[1:])
        if index is None or values is None:
            raise InputError(f"{path}, line {number}, is not a class and x y x y ... as fractions of the picture")
        if len(values) in (4, 5):
            raise InputError(f"{path}, line {number}, is a box, not an outline; export segmentation")
        if len(values) < 6 or len(values) % 2:
            raise InputError(
                f"{path}, line {number}, has {plural(len(values), 'number')}, not at least three x y pairs"
                + ("; if the last is a confidence, leave it out" if len(values) > 6 else "")
            )
        if not -0.05 <= (outermost := max(values, key=lambda value: abs(value - 0.5))) <= 1.05:
            raise InputError(f"{path}, line {number}, has {outermost:g}; YOLO's numbers are fractions from 0 to 1")
        points = [value * size[1 - place % 2] for place, value in enumerate(values)]
        yield Shape(names.get(index, f"class {index}"), [points])


def _class_index(field: str) -> int | None:
    """The number of a class, or None. Some programs write it as a float, such as 0.0."""
    value = (_numbers([field]) or [-1.0])[0]
    return int(value) if value >= 0 and value.is_integer() else None


def _numbers(fields: list[str]) -> list[float] | None:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _class_names(path: Path, given: Path | None) -> dict[int, str]:
    """The class names in the file `given`, or else in data.yaml in the folder of the labels or one of the three above
    it."""
    folder = path if path.is_dir() else path.parent
    places = (place / name for place in (folder, *list(folder.resolve().parents)[:3]) for name in _DATA)
    if (file := given or next(filter(Path.is_file, places), None)) is None:
        return {}
    try:
        data = msgspec.yaml.decode(read_utf8(file), type=_Data, strict=False)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"{file} has no valid class names; give a list, or numbers with names") from error
    pairs = data.names.items() if isinstance(data.names, dict) else enumerate(data.names)
    return {index: str(name) for index, name in pairs}


def _picture_of(label: Path) -> Path | None:
    """The picture of a file of labels, in the same folder or in that with `images` instead of the last `labels`."""
    folders = [label.parent]
    parts = list(label.parent.parts)
    if "labels" in parts:
        place = len(parts) - 1 - parts[::-1].index("labels")
        folders.insert(0, Path(*parts[:place], "images", *parts[place + 1 :]))
    endings = [ending for suffix in sorted(PICTURE_SUFFIXES) for ending in (suffix, suffix.upper())]
    return next(filter(Path.is_file, (folder / (label.stem + end) for folder in folders for end in endings)), None)


def _texts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [folder / name for name in visible_files(folder) if name.endswith(".txt")]
    return [file for file in files if file.name not in _OTHER_TEXTS or _picture_of(file)]  # a picture may be train.jpg


def write(annotations: Annotations, out: FolderWriter) -> None:
    """Write labels/train/NAME.txt, data.yaml, and images/train/ if `out.frames`. An object is one polygon, whose parts
    are joined by cuts of zero width."""
    classes = {name: index for index, name in enumerate(dict.fromkeys(annotations.classes))}
    for picture in annotations.pictures:
        name = out.picture(picture, "images/train")
        height, width = picture.size
        lines = []
        for item in annotations.items(picture):
            index = classes.setdefault(item.label, len(classes))
            shares = (one_outline(item.mask, out.tolerance) / (width, height)).clip(0, 1).ravel()
            lines.append(f"{index} " + " ".join(f"{share:.6f}".rstrip("0").rstrip(".") for share in shares))
        out.text(f"labels/train/{Path(name).stem}.txt", "\n".join(lines))
    # Without `path`, Ultralytics uses the folder of data.yaml; `path: .` would be its working directory.
    names = "".join(f"  {index}: {json.dumps(name, ensure_ascii=False)}\n" for name, index in classes.items())
    val = "val: images/train # Ultralytics needs this line; replace it by pictures that are not trained on"
    out.text("data.yaml", f"train: images/train\n{val}\nnames:\n{names or '  {}'}".rstrip())
