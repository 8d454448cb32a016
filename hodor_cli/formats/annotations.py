"""The form that all formats convert from and to: pictures with objects, and the rule that gives objects their ids.

A reader returns `Annotations` without ids, `numbered` assigns the ids, and a writer takes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.mask_values import ids_in
from hodor_cli.datasets.rle import Segmentation, check_segmentation, decode_segmentation
from hodor_cli.errors import InputError
from hodor_cli.formats.drawing import run_lengths
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.paths import listed

if TYPE_CHECKING:
    from hodor_cli.video.frames import FrameSource

Key = int | str


@dataclass(frozen=True)
class Shape:
    """One object in one picture, or a part of it.

    name: the class, "" if there is none. segmentation: polygons in pixels (pixel i reaches from i to i + 1), or run
    lengths. key: the tool's own id of the object (a group, a track), if it has one; parts of an object share it.
    object_id: 1..65535, 0 before `numbered`.
    """

    name: str
    segmentation: Segmentation
    key: Key | None = None
    object_id: int = 0

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) bool. Raises ValueError, with the reason, if the shape cannot be drawn at that size."""
        return decode_segmentation(self.segmentation, *size)


@dataclass(frozen=True)
class Picture:
    """One annotated picture.

    name: of the file, relative to the folder of pictures, or of the frame. size: (height, width) of the upright
    picture. shapes: later ones lie on top. frame: its index in the video; None if only the name identifies it. time: in
    seconds from the video's first frame. file: path of the picture, and image: (H, W, 3) uint8 RGB, for writers that
    also write the pictures.
    """

    name: str
    size: tuple[int, int]
    shapes: tuple[Shape, ...]
    frame: int | None = None
    time: float | None = None
    file: Path | None = None
    image: NDArray[np.uint8] | None = None

    @cached_property
    def labels(self) -> NDArray[np.uint16]:
        """(H, W) object ids, 0 background; a pixel covered by several shapes belongs to the last one."""
        labels = np.zeros(self.size, np.uint16)
        for shape in self.shapes:
            labels[shape.mask(self.size)] = shape.object_id
        return labels

    @property
    def object_ids(self) -> list[int]:
        return sorted({shape.object_id for shape in self.shapes})


@dataclass(frozen=True)
class Annotations:
    """The annotated pictures of a file or folder.

    tool: name of the format, for messages. path: the file or folder. pictures: all with objects, and possibly others;
    the pictures of a result are read anew each time they are iterated over. tracked: an object has the same id in all
    pictures; otherwise each picture numbers its objects from 1. names: object id -> class, if `tracked`. notes:
    sentences for the user. video: name of the video whose frames the pictures are, "" for photographs. fps: its frame
    rate. confidence: 0..1 by (frame, object id). source: the frames, for writers of video.
    """

    tool: str
    path: Path
    pictures: Collection[Picture]
    tracked: bool = True
    names: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    video: str = ""
    fps: float = 0.0
    confidence: Mapping[tuple[int, int], float] = field(default_factory=dict)
    source: FrameSource | None = None

    @property
    def origin(self) -> str:
        """The end of a sentence about `path`, such as "is LabelMe's" or "holds label pictures"."""
        return f"is {self.tool}'s" if self.tool[0].isupper() else f"holds {self.tool}"

    def class_of(self, shape: Shape) -> str:
        """The class of a shape; "object" if it has none."""
        own = self.names.get(shape.object_id) if self.tracked else None
        return own or shape.name or "object"


def shapes_of(labels: NDArray[np.integer], names: dict[int, str] | None = None) -> tuple[Shape, ...]:
    """The objects of a label map as shapes with run lengths; `names` gives their classes."""
    return tuple(
        Shape((names or {}).get(object_id, ""), run_lengths(labels == object_id), object_id, object_id)
        for object_id in ids_in(labels)
    )


def checked_shape(shape: Shape, picture: str, size: tuple[int, int], path: Path) -> Shape | None:
    """The shape with its segmentation checked; None if it covers no pixel. Raises InputError if it cannot be drawn."""
    try:
        segmentation = check_segmentation(shape.segmentation, *size)
    except ValueError as error:
        where = f"{path}" if picture in ("", path.name) else f"{path}: {picture}"
        named = f"'{shape.name}'" if shape.name else "an object"
        raise InputError(f"the outline of {named} in {where} cannot be drawn: {error}") from error
    return None if segmentation is None else replace(shape, segmentation=segmentation)


def numbered(annotations: Annotations) -> Annotations:
    """The annotations with object ids, as `number_together` assigns them."""
    return number_together([annotations])[0]


def number_together(several: Sequence[Annotations]) -> list[Annotations]:
    """Assign object ids, so that an object has the same id in all of `several`.

    Shapes with the same name and key (a group, a track) are one object, and a whole-number key becomes its id. If no
    shape has a key, shapes with the same name are one object, provided that no picture has two shapes of one name.
    Otherwise each picture numbers its objects from 1, and the result is not `tracked`. Raises InputError if two files
    give one key different names, or if there are more than 65,535 objects.
    """
    pictures = [picture for one in several for picture in one.pictures]
    doubts = _differing_names(pictures)
    several = [*several[:-1], *(replace(one, notes=(*one.notes, *doubts)) for one in several[-1:])]
    if any(shape.key is not None for picture in pictures for shape in picture.shapes):
        ids = _ids_by_key(several)
        return [_with_ids(one, lambda picture, place: ids[_key(picture, place)]) for one in several]
    if all(_names_differ(picture) for picture in pictures):
        names = dict.fromkeys(shape.name for picture in pictures for shape in picture.shapes)
        order = {name: number for number, name in enumerate(names, start=1)}
        return [_with_ids(one, lambda picture, place: order[picture.shapes[place].name]) for one in several]
    return [_with_ids(one, lambda picture, place: place + 1, tracked=len(pictures) == 1) for one in several]


def _differing_names(pictures: Iterable[Picture]) -> list[str]:
    """Sentences about objects that may be one object with two names: they share a key, or their names differ only in
    capitals, and no picture has both."""
    called: dict[tuple[str, Key], dict[str, str]] = {}
    apart: set[tuple[str, Key]] = set()
    for picture in pictures:
        here: dict[tuple[str, Key], str] = {}
        for shape in picture.shapes:
            keys: list[tuple[str, Key]] = [("name", shape.name.casefold())]
            keys += [("key", shape.key)] if shape.key is not None else []
            for key in keys:
                called.setdefault(key, {}).setdefault(shape.name, picture.name)
                if here.setdefault(key, shape.name) != shape.name:
                    apart.add(key)
    found = []
    for key, names in called.items():
        if len(names) > 1 and key not in apart:
            named = listed([f"'{name}' ({picture})" for name, picture in names.items()], 3)
            what = f"object {key[1]} has" if key[0] == "key" else "something has"
            found.append(f"{what} the names {named} and is taken for {len(names)} objects; give it one if it is one")
    return found


def _with_ids(one: Annotations, id_of: Callable[[Picture, int], int], tracked: bool = True) -> Annotations:
    pictures = [
        replace(picture, shapes=tuple(
            replace(shape, object_id=id_of(picture, place)) for place, shape in enumerate(picture.shapes)
        )) for picture in one.pictures
    ]  # fmt: skip
    shapes = [shape for picture in pictures for shape in picture.shapes if tracked and shape.name]
    names = {shape.object_id: shape.name for shape in reversed(shapes)}
    return replace(one, tracked=tracked, names=dict(sorted(names.items())), pictures=pictures)


def _key(picture: Picture, place: int) -> tuple[str, Key]:
    """(name, key) of the shape's object. A shape without a key, where others have one, is an object of its own."""
    shape = picture.shapes[place]
    return shape.name, f"{picture.name}#{place}" if shape.key is None else shape.key


def _ids_by_key(several: Sequence[Annotations]) -> dict[tuple[str, Key], int]:
    """The id of each object: its key if that is a number that no object before it has, else the first unused number."""
    paths: dict[tuple[str, Key], Path] = {}
    first: dict[Key, tuple[str, Key]] = {}
    for one in several:
        for picture in one.pictures:
            for place in range(len(picture.shapes)):
                known = _key(picture, place)
                paths.setdefault(known, one.path)
                other = first.setdefault(known[1], known)
                if other[0] != known[0] and paths[other] != one.path:
                    raise InputError(
                        f"{one.path} calls object {known[1]} '{known[0]}' and {paths[other]} calls it '{other[0]}'; "
                        "give each object a number of its own"
                    )
    wanted = {key for _, key in paths if isinstance(key, int) and 0 < key <= MAX_ID}
    free = (number for number in range(1, MAX_ID + 1) if number not in wanted)
    ids: dict[tuple[str, Key], int] = {}
    for known, path in paths.items():
        own = known[1] in wanted and first[known[1]] == known
        ids[known] = int(known[1]) if own else next(free, 0)
        if not ids[known]:
            raise InputError(f"{path} has more than {MAX_ID} objects")
    return ids


def _names_differ(picture: Picture) -> bool:
    names = [shape.name for shape in picture.shapes]
    return len(set(names)) == len(names)


def require_same_size(picture: Picture, size: tuple[int, int], path: Path) -> None:
    """Raise InputError unless the picture has the (height, width) of the frames."""
    if picture.size == size:
        return
    (height, width), (want_height, want_width) = picture.size, size
    turned = (height, width) == (want_width, want_height)
    way_out = (
        "the tool did not turn the picture upright, so export it turned"
        if turned
        else "annotate pictures of the frames' own size"
    )
    raise InputError(
        f"{path} was drawn on a picture of {width}x{height} pixels but the frames are {want_width}x{want_height}: "
        f"{way_out}"
    )


def overlaps(pictures: Iterable[Picture]) -> int:
    """The number of pictures in which shapes overlap."""
    return sum(
        sum(int(shape.mask(picture.size).sum()) for shape in picture.shapes) > int((picture.labels > 0).sum())
        for picture in pictures
    )
