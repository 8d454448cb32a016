"""Retrieval results as files: a sheet of crops, and precision-recall curves (HODOR, CVPR 2022, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hodor_cli.descriptors.search.protocol import RECALL_LEVELS, RetrievalScores
from hodor_cli.descriptors.search.query import Query, spread
from hodor_cli.descriptors.search.search import Match, VerifiedMatch
from hodor_cli.descriptors.store.crops import open_crop
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import require_matplotlib
from hodor_cli.files import csv_text, harmless, new_file
from hodor_cli.images.paths import plural
from hodor_cli.images.sheet import Picture, joined, save_sheet, text_line

TILE = 104
TEXT_WIDTH = 360
CROPS = 8
FAINT = 110


def write_contact_sheet(
    path: Path, store: DescriptorStore, query: Query, matches: Sequence[Match], checks: Sequence[VerifiedMatch] = ()
) -> None:
    """Write the query and its matches as PNG. A match shows its rank, name, distance, times, and crops from its frames.

    checks: the result of verifying each match; its distance, which ranks them too, is shown as well. The crop nearest
    to the query comes first, in a blue frame. Raises OutputError if the file cannot be written.
    """
    asked = f"the query, {plural(len(query.descriptors), 'descriptor')}"
    line = np.full((1, TEXT_WIDTH + CROPS * TILE, 3), FAINT, np.uint8)
    rows = [_row(query.label, [asked], [query.thumbnail]), line]
    for rank, (match, check) in enumerate(zip_longest(matches, checks), start=1):
        texts = [f"distance {match.distance:.3f}{_verified(check)}", describe_times(match)]
        rows.append(_row(f"{rank}. {match.video}/{match.object_id}", texts, _crops(store, match), "#0078d7"))
    save_sheet(path, joined(rows, axis=0))


def _verified(check: VerifiedMatch | None) -> str:
    if check is None:
        return ""
    if check.problem:
        return ", not checked"
    return f", {check.distance:.3f} to what was found" if check.found else ", not found"


def describe_times(match: Match) -> str:
    """When a match is visible: "0:01.2 to 0:04.0, best 0:02.4, frame 60 (35 frames)"; for a photograph, its name."""
    if match.first_time is None or match.last_time is None or match.best_time is None:
        return match.image_name or f"image {match.best_frame}"
    shown = []
    for seconds in (match.first_time, match.last_time, match.best_time):
        minutes, rest = divmod(round(seconds, 1), 60)
        hours, minutes = divmod(int(minutes), 60)
        shown.append(f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}")
    return "{} to {}, best {}, frame {} ({})".format(*shown, match.best_frame, plural(match.frames, "frame"))


def _crops(store: DescriptorStore, match: Match) -> list[bytes | None]:
    rows = np.flatnonzero(store.dataset(match.video, "object_id") == match.object_id)
    frames = store.dataset(match.video, "frame")[rows]
    best = rows[int(np.abs(frames - match.best_frame).argmin())]
    others = spread(rows[rows != best], CROPS - 1)
    return store.thumbnails(match.video, np.concatenate([[best], others]).astype(int))


def _row(title: str, lines: Sequence[str], crops: Sequence[bytes | None], frame: str = "white") -> Picture:
    """Texts, and crops beside them. frame: the colour around the first crop."""
    texts = [text_line(title, TEXT_WIDTH, 17), *(text_line(line, TEXT_WIDTH, 13, FAINT) for line in lines)]
    tiles = [joined(texts, axis=0)]
    for data in crops:
        tile = Image.new("RGB", (TILE - 8, TILE - 8), "white")
        if data is not None:
            crop = open_crop(data)
            crop.thumbnail(tile.size)
            tile.paste(crop, ((tile.width - crop.width) // 2, (tile.height - crop.height) // 2))
        tiles.append(np.asarray(ImageOps.expand(tile, 2, frame if len(tiles) == 1 else "white")))
    return joined(tiles, axis=1)


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
    from matplotlib.figure import Figure

    drawn = [key for key in GALLERIES if any(scores.gallery == key for scores in curves.values())]
    figure = Figure(figsize=(5.6 * len(drawn), 4.8), dpi=160, layout="constrained")
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
