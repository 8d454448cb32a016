"""What the page and the server exchange: requests, one struct for each kind, and label maps.

A message that matches no request is rejected. A label map is sent row by row as runs (object id, number of pixels),
each as two little-endian uint32; a 1920x1080 map with a few objects takes about 30 KB.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from hodor_cli.errors import InputError
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.records import ObjectId

Index = Annotated[int, Meta(ge=0, le=1 << 31)]
Side = Annotated[int, Meta(ge=1, le=1 << 16)]
Direction = Literal["forward", "backward", "both", "one"]


class _Base(Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    """Base of all requests; `do` names the kind."""


class _OnObject(_Base, frozen=True):
    """Base of requests about an object in a frame."""

    frame: Index
    object: ObjectId


class _Rectangle(_OnObject, frozen=True):
    """Base of requests about a rectangle of a frame, in pixels."""

    x: Index
    y: Index
    width: Side
    height: Side


class _Pair(_Base, frozen=True):
    """Base of requests about two objects."""

    object: ObjectId
    other: ObjectId


class Hello(_Base, frozen=True, tag="hello"):
    """A page's first message; the page takes the project over from any other page."""


class Click(_OnObject, frozen=True, tag="click"):
    """A click at (x, y) in pixels: positive on the object, negative off it."""

    x: float
    y: float
    positive: bool = True


class Box(_Rectangle, frozen=True, tag="box"):
    """A box around the object."""


class Paint(_Rectangle, frozen=True, tag="paint"):
    """A stroke or polygon. Runs of 0 and 1 that fill the rectangle follow the message."""

    add: bool = True


class Tidy(_OnObject, frozen=True, tag="tidy"):
    """Fill an object's holes in a frame, keep only its largest piece, or clear its mask."""

    how: Literal["fill", "largest", "clear"]


class AddObject(_Base, frozen=True, tag="add-object"):
    """Add an object with the smallest free id."""


class Rename(_Base, frozen=True, tag="rename"):
    """Rename an object."""

    object: ObjectId
    name: Annotated[str, Meta(max_length=80)]


class Hide(_Base, frozen=True, tag="hide"):
    """Hide or show an object on the page."""

    object: ObjectId
    hidden: bool


class DeleteObject(_Base, frozen=True, tag="delete-object"):
    """Remove an object from all frames."""

    object: ObjectId


class Merge(_Pair, frozen=True, tag="merge"):
    """Make `other` part of `object` in all frames."""


class Swap(_Pair, frozen=True, tag="swap"):
    """Exchange the ids of two objects from frame `start` on."""

    start: Index = 0


class Undo(_Base, frozen=True, tag="undo"):
    """Undo the newest change."""


class Redo(_Base, frozen=True, tag="redo"):
    """Redo the change that was undone last."""


class Track(_Base, frozen=True, tag="track"):
    """Track the objects from a frame on."""

    frame: Index
    direction: Direction


class Adapt(_Base, frozen=True, tag="adapt"):
    """Fine-tune a copy of the network on the masks made by hand."""


class Export(_Base, frozen=True, tag="export"):
    """Write an export next to the masks."""

    kind: Annotated[str, Meta(max_length=40)]


class Stop(_Base, frozen=True, tag="stop"):
    """Stop tracking, adaptation or export; finished frames are kept."""


Edit: TypeAlias = (
    Click | Box | Paint | Tidy | AddObject | Rename | Hide | DeleteObject | Merge | Swap | Undo | Redo
)  # fmt: skip
Job: TypeAlias = Track | Adapt | Export
Request: TypeAlias = Hello | Stop | Edit | Job

_decoder = msgspec.json.Decoder(Request)


def decode_request(message: str | bytes) -> tuple[Request, bytes]:
    """Decode a page's message: a request in its first line, and the bytes after it. Raises InputError."""
    head, _, rest = (message.encode() if isinstance(message, str) else message).partition(b"\n")
    try:
        return _decoder.decode(head), rest
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"the page asked for something unknown ({error}); reload it") from error


def pack_runs(labels: NDArray[np.integer]) -> bytes:
    """The runs of an (H, W) label map."""
    flat = np.ascontiguousarray(labels).reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.append(starts, flat.size))
    return np.stack([flat[starts].astype("<u4"), lengths.astype("<u4")], axis=1).tobytes()


def unpack_runs(data: bytes, size: tuple[int, int]) -> NDArray[np.uint16]:
    """The (H, W) label map encoded by runs from a page. Raises InputError unless they fill it exactly."""
    if len(data) % 8:
        raise InputError("the drawing arrived incomplete; draw it again")
    pairs = np.frombuffer(data, dtype="<u4").reshape(-1, 2)
    if int(pairs[:, 1].sum(dtype=np.uint64)) != size[0] * size[1] or int(pairs[:, 0].max(initial=0)) > MAX_ID:
        raise InputError(f"the drawing does not fit its {size[1]}x{size[0]} pixels; draw it again")
    return np.repeat(pairs[:, 0].astype(np.uint16), pairs[:, 1]).reshape(size)
