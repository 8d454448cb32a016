"""The axes of a multi-page TIFF (time, depth, channel), as OME, ImageJ and tifffile describe them.

If there are several, the user must say which one is time. It decides what is tracked, so it is never guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from PIL.ExifTags import Base as Tag

from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.pillow import open_picture, tiff_tag

Axes = list[tuple[str, int]]


def read_axes(path: Path) -> Axes:
    """(name, length) of each axis of the pages of a TIFF, slowest first, without axes of length 1.

    Names are T, Z and C, or 0, 1, ... if the file has no names. Empty if the file has no description of its axes, or
    none that fits its number of pages. Raises `InputError` if it is not a picture, or has pages that it does not list.
    """
    with open_picture(path) as image:
        if image.format != "TIFF":
            return []
        text, pages = str(tiff_tag(image, Tag.ImageDescription, "")), int(getattr(image, "n_frames", 1))
        page_bytes = image.width * image.height * sum(tiff_tag(image, Tag.BitsPerSample, (1,))) // 8
    for found in _written(text):
        count = math.prod(length for _, length in found)
        if pages == 1 < count and path.stat().st_size - len(text) > count * page_bytes:
            raise InputError(
                f"{path} lists only one of its {count} pages; save it as BigTIFF or as a folder of pictures"
            )
        for axes in (found, [axis for axis in found if axis[0] != "C"]):  # channels may be the colours of a page
            if axes and math.prod(length for _, length in axes) == pages:
                return [axis for axis in axes if axis[1] > 1]
    return []


def pages_along(path: Path, chosen: str | None) -> Sequence[int] | None:
    """The pages of a TIFF that are frames, in order; None for all.

    chosen: the axis that is time, and an index along each other axis: "T,Z=3,C=0". Raises InputError if the file has
    several axes and none is chosen, or if the choice does not fit the file.
    """
    axes = read_axes(path)
    if len(axes) < 2 and chosen is None:
        return None
    if not axes:
        raise InputError(f"{path} does not describe axes, so all its pages are frames; leave out `axes`")
    time, fixed = _parsed(chosen) if chosen is not None else ("", {})
    names = [name for name, _ in axes]
    if time not in names or set(fixed) | {time} != set(names):
        shown = ", ".join(f"{name} ({length})" for name, length in axes)
        example = ",".join([names[0], *(f"{name}=0" for name in names[1:])])
        raise InputError(
            f"{path} has the axes {shown}; say in `axes` which one is time, and an index for each other, like {example}"
        )
    pages = [0]
    for name, length in axes:
        place = fixed.get(name, 0)
        if place >= length:
            raise InputError(f"{path} has {length} pages along {name}, from 0, so {name}={place} is past the end")
        steps = range(length) if name == time else [place]
        pages = [page * length + step for page in pages for step in steps]
    return pages


def _parsed(text: str) -> tuple[str, dict[str, int]]:
    fixed: dict[str, int] = {}
    time = ""
    for part in text.upper().replace(" ", "").split(","):
        name, sign, place = part.partition("=")
        if sign and place.isdecimal():
            fixed[name] = int(place)
        elif not sign and name and not time:
            time = name
        else:
            raise UsageError(f"`axes` {text!r} is not one axis and an index for each other, like T,Z=3,C=0")
    return time, fixed


def _written(text: str) -> Iterator[Axes]:
    """Yield the axes that a description gives in the form of OME, of ImageJ, and of tifffile."""
    if found := re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text):
        values = dict(re.findall(r'(\w+)="([^"]*)"', found[0]))
        order = values.get("DimensionOrder", "XYZCT")[2:]
        sizes = {name: values.get(f"Size{name}", "") for name in reversed(order) if name in "ZCT"}
        yield [(name, int(size) if size.isdecimal() else 1) for name, size in sizes.items()]
    if text.startswith("ImageJ="):
        values = dict(line.partition("=")[::2] for line in text.splitlines())
        names = (("T", "frames"), ("Z", "slices"), ("C", "channels"))
        yield [(name, int(values[key])) for name, key in names if values.get(key, "").isdecimal()]
    with suppress(ValueError, TypeError, KeyError, RecursionError, OverflowError):
        shape = json.loads(text)["shape"]
        sides = shape[: -3 if len(shape) > 3 and shape[-1] in (3, 4) else -2]
        yield [(str(place), int(length)) for place, length in enumerate(sides)]
