"""A contact sheet: one row for each kind of picture, one column for each moment of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hodor_cli.errors import UsageError
from hodor_cli.files import replacing

_INK = (40, 40, 40)
_PAPER = (255, 255, 255)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], captions: Sequence[str], *, width: int = 320, gap: int = 6
) -> np.ndarray:
    """Arrange pictures in a grid.

    Args:
        rows: Title of a row and its pictures, each (H, W, 3) uint8 RGB; all rows have as many as there are captions.
        captions: Text above each column.
        width: Width of a picture on the sheet, in pixels.
        gap: White space between pictures, in pixels.

    Returns:
        The sheet, (H', W', 3) uint8 RGB.

    Raises:
        UsageError: there is no picture, or rows differ in length.
    """
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    if not rows or not captions or any(len(pictures) != len(captions) for _, pictures in rows):
        raise UsageError("a contact sheet needs rows with one picture for each caption")
    font = ImageFont.load_default(size=15)
    title_width, header = 96, 26
    small = [
        [cv2.resize(p, (width, round(width * p.shape[0] / p.shape[1])), interpolation=cv2.INTER_AREA) for p in pictures]
        for _, pictures in rows
    ]
    heights = [max(picture.shape[0] for picture in row) for row in small]
    size = (title_width + len(captions) * (width + gap), header + sum(heights) + gap * len(rows))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        draw.text((title_width + column * (width + gap) + 2, 5), caption, fill=_INK, font=font)
    top = header
    for (title, _), row, height in zip(rows, small, heights, strict=True):
        draw.text((6, top + height // 2 - 10), title, fill=_INK, font=font)
        for column, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (title_width + column * (width + gap), top))
        top += height + gap
    return np.asarray(sheet)


def save_picture(path: Path | str, image: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB picture as PNG; the file appears complete or not at all."""
    from PIL import Image

    with replacing(Path(path)) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", optimize=True)
