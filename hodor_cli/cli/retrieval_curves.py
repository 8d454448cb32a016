"""The precision-recall curves of `hodor retrieval --pr-curve`."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.cli.terminal import note, progress_bar, say, say_json

if TYPE_CHECKING:
    from hodor_cli.descriptors.search.comparison import Comparison, Metric
    from hodor_cli.descriptors.search.protocol import QuerySample, RetrievalScores
    from hodor_cli.descriptors.store.store import DescriptorStore

#: The metrics of curves, by what the curves are called.
METRICS: dict[str, Metric] = {"Euclidean": "euclidean", "cosine": "cosine"}


def measure(
    store: DescriptorStore, comparisons: list[Comparison], queries: QuerySample | None, memory: int
) -> dict[str, RetrievalScores]:
    """The curves of a store by name, in both galleries where possible; descriptors by both metrics.

    The other vectors have a fixed length: there the cosine ranks as the Euclidean distance does.
    """
    from hodor_cli.descriptors.search.protocol import score_retrieval
    from hodor_cli.errors import InputError

    index = store.index()
    curves: dict[str, RetrievalScores] = {}
    for gallery in ("across", "within"):
        for one, (word, metric) in product(comparisons, METRICS.items()):
            if metric != "euclidean" and one.by != "descriptor":
                continue
            label = f"{one.by}, {word} {gallery}"
            with progress_bar(label, None, "queries") as progress:
                try:
                    curves[label] = score_retrieval(
                        one.vectors(store),
                        index,
                        metric=metric,
                        within_video=gallery == "within",
                        queries=queries,
                        memory=memory,
                        progress=progress,
                    )
                except InputError:
                    if gallery == "across":
                        raise
                    note("no curve within videos: none has two objects with several frames each")
                    return curves
    return curves


def write_curves(curves: dict[str, RetrievalScores], output: Path, store: DescriptorStore, as_json: bool) -> None:
    """Write the curves as an image and a table, and print their numbers."""
    from hodor_cli.descriptors.views.retrieval import GALLERIES, write_curves_csv, write_curves_image

    image, table = output.with_suffix(".png"), output.with_suffix(".csv")
    write_curves_image(image, curves, f"{store.path.name}: {len(store):,} descriptors of {store.info.model_name}")
    write_curves_csv(table, curves)
    if as_json:
        keys = (
            "gallery", "metric", "rows", "objects", "queries", "left_out", "sampled", "mean_average_precision",
            "precision_at_half_recall", "recall_at_1", "recall_at_5", "seconds",
        )  # fmt: skip
        found = {name: {key: getattr(scores, key) for key in keys} for name, scores in curves.items()}
        say_json({"store": str(store.path), "image": str(image), "table": str(table), "curves": found})
        return
    for gallery, words in GALLERIES.items():
        shown = {name: scores for name, scores in curves.items() if scores.gallery == gallery}
        if not shown:
            continue
        first = next(iter(shown.values()))
        asked = f"{first.queries:,} {'random ' if first.sampled else ''}queries, {first.left_out:,} left out"
        say(f"Among {words}: {first.rows:,} rows; {first.objects:,} objects to find, {asked}")
        say(f"  {'':<22}{'mAP':>8}{'P@50%':>8}{'R@1':>8}{'R@5':>8}{'time':>9}")
        for name, scores in shown.items():
            shares = ("mean_average_precision", "precision_at_half_recall", "recall_at_1", "recall_at_5")
            numbers = "".join(f"{100 * getattr(scores, share):8.1f}" for share in shares)
            say(f"  {name.removesuffix(f' {gallery}'):<22}{numbers}{scores.seconds:8.1f}s")
    say(f"{image}  the curves")
    say(f"{table}  the same as numbers")
