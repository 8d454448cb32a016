"""The one form between all formats: pictures with objects, and the rule by which objects get their ids.

A reader makes `Annotations` of a file or folder, without ids; `numbered` gives the ids; a writer takes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.rle import RunLengths, Segmentation, check_segmentation, decode_segmentation
from hodor_cli.datasets.video_rle import encode_rle
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID

if TYPE_CHECKING:
    from hodor_cli.video.frames import FrameSource

Key = int | str


@dataclass(frozen=True)
class Shape:
    """One object in one picture, or a part of it.

    name: of its class, "" if the tool has none. segmentation: polygons in pixels (pixel i reaches from i to i + 1), or
    run lengths. key: what the tool calls the object, if it says so (a group, a track); parts of one object share it.
    object_id: 1..65535, 0 before `numbered`.
    """

    name: str
    segmentation: Segmentation
    key: Key | None = None
    object_id: int = 0

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) bool. Raises ValueError, with the reason, if the shape is no mask of that size."""
        return decode_segmentation(self.segmentation, *size)


@dataclass(frozen=True)
class Picture:
    """One annotated picture.

    name: of its file, relative to the folder of pictures, or of its frame. size: (height, width) of the upright
    picture. shapes: later ones lie on top. frame: its number in its video, from 0; None if only the name says which.
    time: in seconds from the video's first frame. file: where the picture lies, and image: (H, W, 3) uint8 RGB, for
    writers that want it beside its objects.
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
        """(H, W) object ids, 0 background; a pixel of several shapes belongs to the last one."""
        labels = np.zeros(self.size, np.uint16)
        for shape in self.shapes:
            labels[shape.mask(self.size)] = shape.object_id
        return labels

    @property
    def object_ids(self) -> list[int]:
        return sorted({shape.object_id for shape in self.shapes})


@dataclass(frozen=True)
class Annotations:
    """What a file or folder says about its pictures.

    tool: whose format it is, for messages. path: where it was read. pictures: those with objects, and perhaps others;
    of a result they are made one by one, each time anew. tracked: an object has one id in all pictures; otherwise every
    picture counts its own from 1. names: object id -> name of its class, if `tracked`. notes: sentences for the user.
    video: name of the video of which they are frames, "" for photographs. fps: its frame rate. known: confidence
    (0..1) by frame and object id. source: the frames themselves, for writers of video.
    """

    tool: str
    path: Path
    pictures: Collection[Picture]
    tracked: bool = True
    names: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    video: str = ""
    fps: float = 0.0
    known: Mapping[tuple[int, int], float] = field(default_factory=dict)
    source: FrameSource | None = None

    def class_of(self, shape: Shape) -> str:
        """The name of a shape's class; "object" without one."""
        own = self.names.get(shape.object_id) if self.tracked else None
        return own or shape.name or "object"


def shapes_of(labels: NDArray[np.integer], names: dict[int, str] | None = None) -> tuple[Shape, ...]:
    """The objects of a label map as shapes of run lengths, named by `names`."""
    ids = [int(value) for value in np.flatnonzero(np.bincount(labels.ravel())) if value]
    found = []
    for object_id in ids:
        packed = encode_rle(labels == object_id)
        height, width = packed["size"]
        runs = RunLengths(packed["counts"], (height, width))
        found.append(Shape((names or {}).get(object_id, ""), runs, object_id, object_id))
    return tuple(found)


def checked_shape(shape: Shape, picture: str, size: tuple[int, int], path: Path) -> Shape | None:
    """The shape if it can be drawn, None if it has no pixel. Raises InputError if it is wrong."""
    try:
        segmentation = check_segmentation(shape.segmentation, *size)
    except ValueError as error:
        where = f"{path}" if picture in ("", path.name) else f"{path}: {picture}"
        named = f"'{shape.name}'" if shape.name else "an object"
        raise InputError(f"the outline of {named} in {where} cannot be drawn: {error}") from error
    return None if segmentation is None else replace(shape, segmentation=segmentation)


def numbered(annotations: Annotations) -> Annotations:
    """The same with object ids; see `number_together`."""
    return number_together([annotations])[0]


def number_together(several: Sequence[Annotations]) -> list[Annotations]:
    """Give objects their ids, the same object the same id in all of `several`.

    What the tool calls an object (a group, a track) decides, and such whole numbers stay as they are. Without that,
    objects of one name are one object, if no picture has two of a name. Otherwise every picture counts its objects from
    1, and they are not `tracked`. Raises InputError if files call one object differently, or for too many objects.
    """
    pictures = [picture for one in several for picture in one.pictures]
    if any(shape.key is not None for picture in pictures for shape in picture.shapes):
        ids = _ids_by_key(several)
        return [_with_ids(one, lambda picture, place: ids[_key(picture, place)]) for one in several]
    if all(_names_differ(picture) for picture in pictures):
        names = dict.fromkeys(shape.name for picture in pictures for shape in picture.shapes)
        order = {name: number for number, name in enumerate(names, start=1)}
        return [_with_ids(one, lambda picture, place: order[picture.shapes[place].name]) for one in several]
    return [_with_ids(one, lambda picture, place: place + 1, tracked=len(pictures) == 1) for one in several]


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
    """What tells an object from others; one without a key, among others that have one, is an object of its own."""
    shape = picture.shapes[place]
    return shape.name, f"{picture.name}#{place}" if shape.key is None else shape.key


def _ids_by_key(several: Sequence[Annotations]) -> dict[tuple[str, Key], int]:
    """The id of each object: its own number if that is free, else the first number that nothing wants."""
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
    """Raise InputError unless a picture was annotated at the (height, width) of the frames."""
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
    """In how many pictures shapes of different objects share pixels."""
    return sum(
        sum(int(shape.mask(picture.size).sum()) for shape in picture.shapes) > int((picture.labels > 0).sum())
        for picture in pictures
    )
