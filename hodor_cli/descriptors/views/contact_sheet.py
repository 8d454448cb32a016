"""A page of crops: the query on top, one row per match below, so that a person sees at once what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hodor_cli.descriptors.search.query import Query, spread
from hodor_cli.descriptors.search.search import Match
from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.files import harmless, new_file

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

TILE = 104
TEXT_WIDTH = 300
CROPS = 8
INK, FAINT, BEST = (20, 20, 20), (110, 110, 110), (0, 120, 215)


def write_contact_sheet(path: Path, store: DescriptorStore, query: Query, matches: Sequence[Match]) -> None:
    """Write the page as PNG. Each match: rank, name, distance, times, and crops over its frames.

    The nearest crop comes first, in a blue frame. Raises OutputError if the file cannot be written.
    """
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (TEXT_WIDTH + CROPS * TILE, (len(matches) + 1) * TILE + 8), "white")
    draw = ImageDraw.Draw(page)
    _text(draw, 0, query.label, f"the query, {len(query.descriptors)} descriptors", "")
    _paste(page, query.thumbnail, 0, 0)
    draw.line((8, TILE + 3, page.width - 8, TILE + 3), fill=FAINT)
    for rank, match in enumerate(matches, start=1):
        top = rank * TILE + 8
        _text(
            draw,
            top,
            f"{rank}. {match.video}/{match.object_id}",
            f"distance {match.distance:.3f}",
            describe_times(match),
        )
        for column, data in enumerate(_crops(store, match)):
            _paste(page, data, column, top)
        draw.rectangle((TEXT_WIDTH, top + 1, TEXT_WIDTH + TILE - 4, top + TILE - 4), outline=BEST, width=2)
    with new_file(path) as temporary:
        page.save(temporary, format="PNG")


def describe_times(match: Match) -> str:
    """When a match is seen, in words: "0:01.2 to 0:04.0, best 0:02.4 (35 frames)"."""
    if match.first_time is None or match.last_time is None or match.best_time is None:
        return f"image {match.best_frame}"
    times = (_clock(value) for value in (match.first_time, match.last_time, match.best_time))
    first, last, best = times
    return f"{first} to {last}, best {best} ({match.frames} frame{'s' * (match.frames != 1)})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def _crops(store: DescriptorStore, match: Match) -> list[bytes | None]:
    rows = np.flatnonzero(store.dataset(match.video, "object_id") == match.object_id)
    frames = store.dataset(match.video, "frame")[rows]
    best = rows[int(np.abs(frames - match.best_frame).argmin())]
    others = spread(rows[rows != best], CROPS - 1)
    return store.thumbnails(match.video, np.concatenate([[best], others]).astype(int))


def _text(draw: ImageDraw.ImageDraw, top: int, title: str, *lines: str) -> None:
    from PIL import ImageFont

    draw.text((12, top + 14), _shortened(title, 30), fill=INK, font=ImageFont.load_default(17))
    for number, line in enumerate(lines):
        draw.text((12, top + 42 + 20 * number), line, fill=FAINT, font=ImageFont.load_default(13))


def _shortened(text: str, length: int) -> str:
    text = harmless(text)
    return text if len(text) <= length else text[: length // 2 - 1] + "…" + text[-length // 2 :]


def _paste(page: Image.Image, data: bytes | None, column: int, top: int) -> None:
    if data is None:
        return
    crop = open_crop(data)
    crop.thumbnail((TILE - 8, TILE - 8))
    left = TEXT_WIDTH + column * TILE + (TILE - 4 - crop.width) // 2
    page.paste(crop, (left, top + (TILE - 4 - crop.height) // 2 + 1))
