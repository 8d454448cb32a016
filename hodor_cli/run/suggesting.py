"""Suggests which frames of a video to mask next, and draws them on one page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hodor_cli.engine.suggesting import doubt_of, suggest_frames
from hodor_cli.errors import InputError
from hodor_cli.files import new_file
from hodor_cli.images.label_png import read_label_png
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import FrameRecord, Report, ReportRecord, SuggestedFrame, decode, is_report

if TYPE_CHECKING:
    from PIL import Image

Kind = TypeVar("Kind", Report, ReportRecord)

#: Pixels of a picture's longer side on the page, and pictures in a row.
_SIDE, _COLUMNS = 400, 3


def suggested(records: Iterable[FrameRecord], count: int = 5) -> tuple[SuggestedFrame, ...]:
    """The frames whose masks would help most, the most useful first."""
    names, doubts, masked = [], [], []
    for position, record in enumerate(records):
        names.append((record.frame, record.name))
        doubts.append(doubt_of(record.objects.values()))
        if record.given:
            masked.append(position)
    return tuple(
        SuggestedFrame(*names[found.frame], round(found.gain, 4)) for found in suggest_frames(doubts, masked, count)
    )


def suggested_in(result: Path, count: int = 5) -> tuple[SuggestedFrame, ...]:
    """Suggestions for a result folder. Raises InputError if it has no finished run, OutputError if it is damaged."""
    return suggested(_report(result, Report).frames, count)


def write_suggestions(path: Path, result: Path, frames: Iterable[SuggestedFrame]) -> None:
    """Write a PNG page of frames with their masks drawn over them. Raises InputError if the video was moved."""
    from PIL import Image, ImageDraw

    from hodor_cli.video.overlay import draw_overlay
    from hodor_cli.video.source import open_source

    folder = OutputFolder(result)
    report = _report(result, ReportRecord)
    tiles: list[Image.Image] = []
    with open_source(report.place.get("source", "")) as source:
        for one in frames:
            for frame in source.between(one.frame, one.frame + 1):
                drawn = draw_overlay(frame.image, np.asarray(read_label_png(folder.mask(one.name))), ids=True)
                tile = Image.fromarray(drawn)
                tile.thumbnail((_SIDE, _SIDE))
                ImageDraw.Draw(tile).text(
                    (6, 4), f"{one.name}  {one.gain:.0%}", fill="white", stroke_width=2, stroke_fill="black"
                )
                tiles.append(tile)
    if not tiles:
        raise InputError(f"no frame of {result} can be shown: {report.place.get('source')} does not hold them any more")
    width, height = tiles[0].size
    columns = min(_COLUMNS, len(tiles))
    page = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    for place, tile in enumerate(tiles):
        page.paste(tile, (place % columns * width, place // columns * height))
    with new_file(path) as temporary:
        page.save(temporary, format="PNG")


def _report(result: Path, kind: type[Kind]) -> Kind:
    report = OutputFolder(result).report
    if not is_report(report):
        raise InputError(f"{result} holds no finished run of hodor segment; for a video, give its first `mask` as well")
    return decode(report.read_bytes(), kind, str(result))
