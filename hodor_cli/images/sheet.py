"""Sheets of pictures: tiles with captions, in rows and columns on white, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hodor_cli.files import ELSEWHERE, drawable, new_file

Picture = NDArray[np.uint8]  # (H, W, 3) RGB


def scaled(picture: Picture, scale: float) -> Picture:
    """The picture at another size, of at least one pixel per side."""
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=way), dtype=np.uint8)


def text_line(text: str, width: int, size: int = 12, grey: int = 20) -> Picture:
    """A line of text, `size` + 4 pixels high; a text that is too long loses its middle."""
    text, font = drawable(text), ImageFont.load_default(size)
    shown, kept = text, len(text) // 2
    while kept and font.getlength(shown) > width - 4:
        kept -= 1
        shown = f"{text[:kept]}...{text[len(text) - kept :]}"
    line = Image.new("RGB", (width, size + 4), "white")
    ImageDraw.Draw(line).text((2, 1), shown, (grey, grey, grey), font)
    return np.asarray(line)


def captioned(picture: Picture, text: str, size: int = 12) -> Picture:
    """The picture below a line of text."""
    return np.concatenate([text_line(text, picture.shape[1], size), picture])


def joined(pictures: Sequence[Picture], *, axis: int, gap: int = 4) -> Picture:
    """Pictures in a row (axis 1) or a column (0), with gaps between."""
    across = 1 - axis
    longest = max(picture.shape[across] for picture in pictures)
    parts: list[Picture] = []
    for place, picture in enumerate(pictures):
        padding = [(0, 0), (0, 0), (0, 0)]
        padding[across] = (0, longest - picture.shape[across])
        padding[axis] = (gap if place else 0, 0)
        parts.append(np.pad(picture, padding, constant_values=255))
    return np.concatenate(parts, axis=axis)


def grid(tiles: Sequence[Picture], columns: int, gap: int = 4) -> Picture:
    """Tiles in rows of `columns`."""
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    return joined([joined(row, axis=1, gap=gap) for row in rows], axis=0, gap=gap)


def save_sheet(path: Path, picture: Picture, way_out: str = ELSEWHERE) -> None:
    """Write a PNG, with a margin. Raises OutputError, with `way_out` as advice, if that fails."""
    page = np.pad(picture, ((6, 6), (6, 6), (0, 0)), constant_values=255)
    with new_file(path, way_out) as temporary:
        Image.fromarray(page).save(temporary, format="PNG", compress_level=3)  # photographs gain little from more
