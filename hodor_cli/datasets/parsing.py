"""Parses JSON and XML files that people and tools write, with one sentence about what is wrong with a broken one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

import msgspec

from hodor_cli.errors import HodorError, InputError
from hodor_cli.images.paths import read_utf8, reading_file

T = TypeVar("T")


def parse_json(path: Path, form: type[T], what: str, advice: str = "", error: type[HodorError] = InputError) -> T:
    """Parse a JSON file as a value of type `form`. Whole numbers may be written as 2.0 or "2"; NaN is read as null.

    Raises `error`, with the reason and `advice`, if the file is not `what`.
    """
    data = read_utf8(path, error)
    try:
        return decode_json(data, form)
    except (ValueError, RecursionError) as reason:
        way_out = f"; {advice}" if advice else ""
        raise error(f"{path} is not {what} that can be read: {reason_of(reason)}{way_out}") from reason


def decode_json(data: bytes | msgspec.Raw, form: type[T]) -> T:
    """`parse_json` for text. Raises ValueError, or RecursionError if it is nested too deeply."""
    try:
        return msgspec.json.decode(data, type=form, strict=False)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if not any(word in bytes(data) for word in (b"NaN", b"Infinity")):
            raise
        # Python's json module writes these numbers, although JSON does not have them.
        plain = msgspec.json.encode(json.loads(bytes(data), parse_constant=lambda _: None))
        return msgspec.json.decode(plain, type=form, strict=False)


def reason_of(error: Exception) -> str:
    """A parser's message as part of a sentence: it starts in lower case, except for words such as JSON.

    Its backticks become quotation marks, because the command line shows words in backticks as options.
    """
    text = str(error).replace("`", "'")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def json_keys(path: Path) -> frozenset[str]:
    """The keys of the object in a JSON file, or of the first object in a list, by which its format is recognised; empty
    for any other file."""
    try:
        state = path.stat()
    except OSError:
        return frozenset()
    return _keys(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)  # each format asks for the keys, and the file may have hundreds of megabytes
def _keys(path: Path, _time: int, _size: int) -> frozenset[str]:
    try:
        data = read_utf8(path)
        if data.lstrip()[:1] != b"[":
            return frozenset(decode_json(data, dict[str, msgspec.Raw]))
        return frozenset(next(iter(decode_json(data, list[dict[str, msgspec.Raw]])), {}))
    except (InputError, ValueError, RecursionError):
        return frozenset()


def xml_elements(path: Path, what: str) -> Iterator[Element]:
    """Yield each element of an XML file as soon as it is complete. Entities and external files are never loaded. Raises
    InputError if the file is not `what`."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        with reading_file(path), path.open("rb") as file:
            for _, element in iterparse(file, forbid_dtd=True):
                yield element
    except DefusedXmlException as error:
        raise InputError(f"{path} is not {what}: it has a DTD or entities, which are refused") from error
    except (ParseError, ValueError) as error:
        raise InputError(f"{path} is not {what} that can be read: {reason_of(error)}") from error
