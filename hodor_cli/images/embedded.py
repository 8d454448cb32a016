"""Pictures inside JSON files, as LabelMe stores them; such a JSON file is accepted wherever a picture is read."""

from __future__ import annotations

import base64
import binascii
import codecs
from pathlib import Path

import msgspec

from hodor_cli.errors import InputError


class _File(msgspec.Struct):
    imageData: str | None = None  # noqa: N815


def decoded_picture(text: str, path: Path) -> bytes:
    """The bytes of a picture from base64 in the file `path`; `data:...,` may stand in front. Raises InputError."""
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=False)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the picture inside {path} is damaged; save the file again with LabelMe") from error


def picture_bytes(path: Path) -> bytes:
    """The bytes of a picture's file, or of the picture inside a JSON; a JSON without one gives its text.

    Raises OSError, and InputError if what is inside is no base64.
    """
    data = path.read_bytes()
    if path.suffix.lower() != ".json":
        return data
    try:
        inside = msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8), type=_File).imageData
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return data
    return decoded_picture(inside, path) if inside else data
