"""Precision-recall curves on paper: PNG and CSV (HODOR, CVPR 2022, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hodor_cli.descriptors.search.protocol import RECALL_LEVELS, RetrievalScores
from hodor_cli.errors import require_matplotlib
from hodor_cli.files import csv_text, harmless, new_file

Curves = Mapping[str, RetrievalScores]
GALLERIES = {"across": "all videos", "within": "the query's own video"}


def write_curves_csv(path: Path, curves: Curves) -> None:
    """Write recall, then one column of precision per curve, named as the curve."""
    rows = [
        [f"{recall:.2f}", *(f"{scores.precision[number]:.6f}" for scores in curves.values())]
        for number, recall in enumerate(RECALL_LEVELS)
    ]
    with new_file(path) as temporary:
        temporary.write_text(csv_text([["recall", *curves], *rows]), encoding="utf-8")


def write_curves_image(path: Path, curves: Curves, title: str = "") -> None:
    """One panel per gallery, one line per curve, with each curve's mean average precision in the legend."""
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
        figure.suptitle(harmless(title), fontsize=11, parse_math=False)  # a file may be called $x$
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png")
