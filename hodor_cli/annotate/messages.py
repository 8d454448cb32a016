"""What a page may ask for, one record for each kind; what does not fit them is refused before anything is done."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from hodor_cli.errors import InputError

Index = Annotated[int, Meta(ge=0, le=1 << 31)]
ObjectId = Annotated[int, Meta(ge=1, le=65_535)]
Side = Annotated[int, Meta(ge=1, le=1 << 16)]
Direction = Literal["forward", "backward", "both", "one"]
ExportKind = Annotated[str, Meta(max_length=40)]


class Ask(Struct, frozen=True, tag_field="do", forbid_unknown_fields=True):
    """The base of all: `do` names the kind."""


class Hello(Ask, frozen=True, tag="hello"):
    """The first message of a page; `take` moves the project here from another tab."""

    take: bool = False


class Click(Ask, frozen=True, tag="click"):
    """A click at (x, y) in pixels: the object is there, or is not."""

    frame: Index
    object: ObjectId
    x: float
    y: float
    positive: bool = True


class Box(Ask, frozen=True, tag="box"):
    """A box in pixels around the object."""

    frame: Index
    object: ObjectId
    x: Index
    y: Index
    width: Side
    height: Side


class Paint(Ask, frozen=True, tag="paint"):
    """A stroke or polygon: behind the message come runs of 0 and 1 inside the rectangle x, y, width, height."""

    frame: Index
    object: ObjectId
    x: Index
    y: Index
    width: Side
    height: Side
    add: bool = True


class Tidy(Ask, frozen=True, tag="tidy"):
    """Fill the object's holes in a frame, keep its largest piece, or clear it there."""

    frame: Index
    object: ObjectId
    how: Literal["fill", "largest", "clear"]


class AddObject(Ask, frozen=True, tag="add-object"):
    """A new object with the smallest free id."""


class Rename(Ask, frozen=True, tag="rename"):
    """A new name for an object."""

    object: ObjectId
    name: Annotated[str, Meta(max_length=80)]


class Hide(Ask, frozen=True, tag="hide"):
    """Whether an object is drawn on the page."""

    object: ObjectId
    hidden: bool


class DeleteObject(Ask, frozen=True, tag="delete-object"):
    """Remove an object from all frames."""

    object: ObjectId


class Merge(Ask, frozen=True, tag="merge"):
    """`other` becomes part of `object` in all frames."""

    object: ObjectId
    other: ObjectId


class Swap(Ask, frozen=True, tag="swap"):
    """Two objects change ids from frame `start` on: 0 for all frames."""

    object: ObjectId
    other: ObjectId
    start: Index = 0


class Undo(Ask, frozen=True, tag="undo"):
    """Take back the newest change."""


class Redo(Ask, frozen=True, tag="redo"):
    """Make again what was taken back."""


class Track(Ask, frozen=True, tag="track"):
    """Follow the objects from a frame on."""

    frame: Index
    direction: Direction


class Adapt(Ask, frozen=True, tag="adapt"):
    """Fine-tune a copy of the network on the given masks."""

    seconds: Annotated[int, Meta(ge=5, le=3600)] = 60


class Export(Ask, frozen=True, tag="export"):
    """Write a format beside the masks."""

    kind: ExportKind


class Stop(Ask, frozen=True, tag="stop"):
    """End tracking, adaptation or export; what is done stays."""


Edit: TypeAlias = (
    Click | Box | Paint | Tidy | AddObject | Rename | Hide | DeleteObject | Merge | Swap | Undo | Redo
)  # fmt: skip
Job: TypeAlias = Track | Adapt | Export
Asked: TypeAlias = Hello | Stop | Edit | Job

_decoder = msgspec.json.Decoder(Asked)


def decode(message: str | bytes) -> tuple[Asked, bytes]:
    """A page's message, and the bytes that follow its first line. Raises InputError for anything else."""
    head, _, rest = (message.encode() if isinstance(message, str) else message).partition(b"\n")
    try:
        return _decoder.decode(head), rest
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"the page asked for something unknown ({error}); reload it") from error
