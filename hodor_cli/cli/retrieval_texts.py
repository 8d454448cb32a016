"""What `hodor retrieval` computes and prints: curves, and the most similar objects."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.terminal import note, progress_bar, say, say_json
from hodor_cli.images.paths import plural

if TYPE_CHECKING:
    from hodor_cli.descriptors.search.comparison import Comparison, Metric
    from hodor_cli.descriptors.search.protocol import RetrievalScores
    from hodor_cli.descriptors.store.store import DescriptorStore


#: Word in the name of a curve -> metric.
METRICS: dict[str, Metric] = {"Euclidean": "euclidean", "cosine": "cosine"}


def measure(store: DescriptorStore, comparisons: list[Comparison], queries: int | None) -> dict[str, RetrievalScores]:
    """Compute the curves of a store by name, for both galleries where possible; descriptors by both metrics.

    The other vectors have a fixed norm, so cosine and Euclidean distance rank them alike.
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
                        progress=progress,
                    )
                except InputError:
                    if gallery == "across":
                        raise
                    note("no curves within videos: no video has two objects with several frames each")
                    return curves
    return curves


def write_curves(curves: dict[str, RetrievalScores], image: Path, store: DescriptorStore, as_json: bool) -> None:
    """Write the curves as an image and a table, and print their numbers."""
    from hodor_cli.descriptors.views.retrieval import GALLERIES, write_curves_csv, write_curves_image

    table = image.with_suffix(".csv")
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


def show_matches(store: DescriptorStore, found: list[dict[str, Any]], as_json: bool) -> None:
    """Print the matches of each query, with the result of decoding it in their frames, as text or JSON."""
    from hodor_cli.descriptors.views.retrieval import describe_times

    if as_json:
        for query in found:
            answers, query["matches"] = query["matches"], []
            for match, check in answers:
                query["matches"].append(asdict(match))
                if check is not None:
                    keys = ("found", "distance", "confidence", "overlap", "problem")
                    verified = {key: getattr(check, key) for key in keys} | ({} if check.found else {"distance": None})
                    query["matches"][-1]["verified"] = verified
        say_json(found)
        return
    for query in found:
        limit = query["alike_below"]
        if not query["matches"]:
            note(f"no other object of {store.path} could be compared with {query['query']}")
        checks = [check for _, check in query["matches"] if check is not None]
        ranked = ", ranked with what was found" if checks else ""
        if unread := sum(bool(check.problem) for check in checks):
            ranked += f", {unread} not checked at the end"
        say(
            f"{query['query']}: {plural(len(query['matches']), 'most similar object')} of {store.path}, "
            f"compared by {query['by']}, {query['metric']} distance{ranked}"
        )
        for rank, (match, check) in enumerate(query["matches"], start=1):
            name, words = f"{match.video}/{match.object_id}", ""
            if check is not None and check.found and not check.problem:
                alike = None if limit is None else check.distance < limit
                what = {None: "something found", True: "found", False: "something else found"}[alike]
                words = f"; {what} there, distance {check.distance:.3f}, confidence {check.confidence:.2f}"
                words += f", overlap {check.overlap:.2f}"
            elif check is not None:
                words = f"; not checked: {check.problem}" if check.problem else "; not found there"
            say(f"  {rank:>2}. {name:<28} {match.distance:8.3f}  {describe_times(match)}{words}")
        nearest = min((match.distance for match, _ in query["matches"]), default=0.0)
        if limit is not None and nearest >= limit:
            note(f"{query['query']} is probably nowhere else: views of one object are usually closer than {limit:.2f}")
        say(f"{query['contact_sheet']}  the crops")
