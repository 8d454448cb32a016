"""Retrieval results as files: a sheet of crops, and precision-recall curves (HODOR, CVPR 2022, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hodor_cli.descriptors.search.protocol import RECALL_LEVELS, RetrievalScores
from hodor_cli.descriptors.search.query import Query, spread
from hodor_cli.descriptors.search.search import Match
from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import require_matplotlib
from hodor_cli.files import csv_text, drawable, harmless, new_file
from hodor_cli.images.paths import plural

TILE = 104
TEXT_WIDTH = 300
CROPS = 8
INK, FAINT, BEST = (20, 20, 20), (110, 110, 110), (0, 120, 215)


def write_contact_sheet(path: Path, store: DescriptorStore, query: Query, matches: Sequence[Match]) -> None:
    """Write the query and its matches as PNG. A match shows its rank, name, distance, times, and crops from its frames.

    The crop nearest to the query comes first, in a blue frame. Raises OutputError if the file cannot be written.
    """
    page = Image.new("RGB", (TEXT_WIDTH + CROPS * TILE, (len(matches) + 1) * TILE + 8), "white")
    draw = ImageDraw.Draw(page)
    _text(draw, 0, query.label, f"the query, {plural(len(query.descriptors), 'descriptor')}", "")
    _paste(page, query.thumbnail, 0, 0)
    draw.line((8, TILE + 3, page.width - 8, TILE + 3), fill=FAINT)
    for rank, match in enumerate(matches, start=1):
        top = rank * TILE + 8
        name = f"{rank}. {match.video}/{match.object_id}"
        _text(draw, top, name, f"distance {match.distance:.3f}", describe_times(match))
        for column, data in enumerate(_crops(store, match)):
            _paste(page, data, column, top)
        draw.rectangle((TEXT_WIDTH, top + 1, TEXT_WIDTH + TILE - 4, top + TILE - 4), outline=BEST, width=2)
    with new_file(path) as temporary:
        page.save(temporary, format="PNG")


def describe_times(match: Match) -> str:
    """When a match is visible: "0:01.2 to 0:04.0, best 0:02.4 (35 frames)"; for a photograph, its file name."""
    if match.first_time is None or match.last_time is None or match.best_time is None:
        return match.image_name or f"image {match.best_frame}"
    shown = []
    for seconds in (match.first_time, match.last_time, match.best_time):
        minutes, rest = divmod(round(seconds, 1), 60)
        hours, minutes = divmod(int(minutes), 60)
        shown.append(f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}")
    return "{} to {}, best {} ({})".format(*shown, plural(match.frames, "frame"))


def _crops(store: DescriptorStore, match: Match) -> list[bytes | None]:
    rows = np.flatnonzero(store.dataset(match.video, "object_id") == match.object_id)
    frames = store.dataset(match.video, "frame")[rows]
    best = rows[int(np.abs(frames - match.best_frame).argmin())]
    others = spread(rows[rows != best], CROPS - 1)
    return store.thumbnails(match.video, np.concatenate([[best], others]).astype(int))


def _text(draw: ImageDraw.ImageDraw, top: int, title: str, *lines: str) -> None:
    draw.text((12, top + 14), _fitting(title, 30), fill=INK, font=ImageFont.load_default(17))
    for number, line in enumerate(lines):
        draw.text((12, top + 42 + 20 * number), _fitting(line, 42), fill=FAINT, font=ImageFont.load_default(13))


def _fitting(text: str, most: int) -> str:
    """The text in drawable letters, with its middle cut out if it is longer than `most`."""
    text = drawable(text)
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def _paste(page: Image.Image, data: bytes | None, column: int, top: int) -> None:
    if data is None:
        return
    crop = open_crop(data)
    crop.thumbnail((TILE - 8, TILE - 8))
    left = TEXT_WIDTH + column * TILE + (TILE - 4 - crop.width) // 2
    page.paste(crop, (left, top + (TILE - 4 - crop.height) // 2 + 1))


Curves = Mapping[str, RetrievalScores]
GALLERIES = {"across": "all videos", "within": "the query's own video"}


def write_curves_csv(path: Path, curves: Curves) -> None:
    """Write a recall column and one precision column per curve, named after the curve."""
    rows = [
        [f"{recall:.2f}", *(f"{scores.precision[number]:.6f}" for scores in curves.values())]
        for number, recall in enumerate(RECALL_LEVELS)
    ]
    with new_file(path) as temporary:
        temporary.write_text(csv_text([["recall", *curves], *rows]), encoding="utf-8")


def write_curves_image(path: Path, curves: Curves, title: str = "") -> None:
    """Draw one panel per gallery and one line per curve, with each curve's mean average precision in the legend."""
    require_matplotlib("`pr_curve`")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [key for key in GALLERIES if any(scores.gallery == key for scores in curves.values())]
    figure = Figure(figsize=(5.6 * len(drawn), 4.8), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    for number, gallery in enumerate(drawn):
        axes = figure.add_subplot(1, len(drawn), number + 1)
        mine = [(name, scores) for name, scores in curves.items() if scores.gallery == gallery]
        for name, scores in mine:
            style = {"baseline": "--", "projection": "-."}.get(name.split(",")[0], ":" if "cosine" in name else "-")
            label = f"{name.removesuffix(f' {gallery}')}, mAP {100 * scores.mean_average_precision:.1f} %"
            axes.plot(
                100 * RECALL_LEVELS, 100 * scores.precision, style, label=label, linewidth=2.2 if style == ":" else 1.8
            )
        first = mine[0][1]
        asked = f"{first.queries:,} {'sampled ' if first.sampled else ''}queries of {first.objects:,} objects"
        axes.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(0, 100), ylim=(0, 102))
        axes.set_title(f"among {GALLERIES[gallery]}\n{asked}", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower left", fontsize=9)
    if title:
        figure.suptitle(harmless(title), fontsize=11, parse_math=False)  # file names may contain $
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png")
