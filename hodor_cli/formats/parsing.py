"""Parses files of other tools: JSON by msgspec, XML without entities. A fault becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from hodor_cli.datasets.report import reason_of
from hodor_cli.errors import InputError
from hodor_cli.images.paths import read_utf8

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")


def parse_json(path: Path, form: type[T], what: str) -> T:
    """The file's JSON as a value of type `form`. Raises InputError with the reason if it is not `what`."""
    try:
        return msgspec.json.decode(read_utf8(path), type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not {what} that can be read: {reason_of(error)}") from error


def xml_elements(path: Path, what: str) -> Iterator[Element]:
    """Yield each element of an XML file when it is complete. Entities and external files are never loaded. Raises
    InputError if it is not `what`."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    try:
        with path.open("rb") as file:
            for _, element in iterparse(file, forbid_dtd=True):
                yield element
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError(f"{path} is not {what} that can be read: {reason_of(error)}") from error
