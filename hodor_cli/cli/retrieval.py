"""`hodor retrieval`: find an object again, and measure how well descriptors tell objects apart."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hodor_cli.cli.options import ByName, JsonOption, out_option
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import note, progress_bar, progress_to, say, say_json
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.descriptors.search.comparison import Comparison
    from hodor_cli.descriptors.search.protocol import QuerySample, RetrievalScores
    from hodor_cli.descriptors.search.query import Query
    from hodor_cli.descriptors.search.search import Match
    from hodor_cli.descriptors.search.verify import VerifiedMatch
    from hodor_cli.descriptors.store.store import DescriptorStore
    from hodor_cli.descriptors.store.vectors import Metric
    from hodor_cli.engine import Segmenter

#: The metrics of curves, by what the curves are called.
METRICS: dict[str, Metric] = {"Euclidean": "euclidean", "cosine": "cosine"}


class MetricName(str, Enum):
    """How descriptors are compared."""

    euclidean = "euclidean"
    cosine = "cosine"


def retrieval(
    store: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A descriptor file [default: objects.h5 here or in the workspace]."),
    ] = None,
    *,
    pr_curve: Annotated[
        bool, typer.Option("--pr-curve", help="Measure: every row is a query for the other rows of its object.")
    ] = False,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", metavar="WHAT", help="Search: FILE.h5#VIDEO/ID, FILE.h5#VIDEO, or a photo together with --mask."
        ),
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", metavar="FILE", help="The object's mask in the photo.")] = None,
    out: Annotated[
        Path | None, out_option("FILE", "Image to write [default: pr_curve.png (and .csv), or matches.png].")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Objects to show.")] = 10,
    by: Annotated[
        ByName | None,
        typer.Option(
            "--by",
            help="What is compared: the encoder's descriptors, the backbone's mean features (baseline), or a "
            "projection of both [default: projection, else baseline, else descriptor; of curves, all].",
        ),
    ] = None,
    projection: Annotated[
        Path | None,
        typer.Option("--projection", metavar="FILE", help="Of `hodor train-projection`, for weights of your own."),
    ] = None,
    metric: Annotated[MetricName, typer.Option("--metric", help="How a query is compared.")] = MetricName.euclidean,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Decode the query into the frames found; rank by the result, too."),
    ] = False,
    faiss: Annotated[bool, typer.Option("--faiss", help="Search with faiss, for large libraries.")] = False,
    queries: Annotated[
        int | None,
        typer.Option("--queries", metavar="N", min=1, help="Curve: take N random rows as queries instead of all."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Which random rows.")] = 0,
    memory: Annotated[int, typer.Option("--memory", metavar="MB", min=1, help="Curve: memory to use.")] = 1024,
    as_json: JsonOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "min_dim", "max_dim", "device", "precision")],
) -> None:
    """Find an object in a library of descriptors, or measure how well descriptors tell objects apart.

    hodor retrieval objects.h5 --query other.h5#bear/1
    hodor retrieval objects.h5 --query photo.jpg --mask photo_mask.png --verify
    hodor retrieval objects.h5 --pr-curve
    """
    from hodor_cli.descriptors.export.finding import find_store
    from hodor_cli.descriptors.search.comparison import choose_comparison, possible_comparisons
    from hodor_cli.descriptors.search.protocol import QuerySample
    from hodor_cli.descriptors.search.query import queries_of_image, queries_of_store
    from hodor_cli.descriptors.store.store import DescriptorStore
    from hodor_cli.errors import UsageError, require_matplotlib
    from hodor_cli.files import require_replaceable

    if pr_curve == (query is not None):
        raise UsageError("give either --pr-curve to measure or --query WHAT to search")
    if mask is not None and query is None:
        raise UsageError("--mask goes with --query PHOTO")
    image = out or Path("pr_curve.png" if pr_curve else "matches.png")
    require_replaceable(image)
    with DescriptorStore(find_store(store)) as library:
        compared: Any = None if by is None else by.value
        if pr_curve:
            require_matplotlib("`pr_curve`")
            if compared is None and projection is None:
                wanted = possible_comparisons(library)
                if len(wanted) == 1:
                    note("no baseline: it was not exported for every video")
            else:
                wanted = [choose_comparison(library, compared, projection)]
            sample = None if queries is None else QuerySample(queries, seed)
            curves = measure(library, wanted, sample, memory << 20)
            _write_curves(curves, image, library, as_json)
            return
        model: dict[str, Any] = {
            name: getattr(settings, name) for name in ("min_dim", "max_dim", "device", "precision")
        }
        if mask is None:
            if query is None or "#" not in query:
                raise UsageError(f"{query} needs the object's --mask FILE; of a descriptor file name FILE.h5#VIDEO/ID")
            asked = queries_of_store(query)
        else:
            from hodor_cli.descriptors.export.encode import FrameEncoder
            from hodor_cli.weights import load_model

            asked = queries_of_image(Path(query or ""), mask, FrameEncoder(load_model(settings.weights), **model))
        segmenter = _segmenter(settings.weights, model, asked[0]) if verify else None
        comparison = choose_comparison(library, compared, projection)
        answers = [
            _search(library, one, comparison, top=top, metric=metric.value, faiss=faiss, segmenter=segmenter)
            for one in asked
        ]
        _show_matches(library, asked, answers, comparison, metric.value, image, as_json)


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
    kinds = [
        (f"{one.by}, {word}", one, metric)
        for one in comparisons
        for word, metric in METRICS.items()
        if metric == "euclidean" or one.by == "descriptor"
    ]
    for within in (False, True):
        for label, one, metric in kinds:
            gallery = "within" if within else "across"
            with progress_to(f"{label} {gallery}", None, "queries") as progress:
                try:
                    curves[f"{label} {gallery}"] = score_retrieval(
                        one.vectors(store),
                        index,
                        metric=metric,
                        within_video=within,
                        queries=queries,
                        memory=memory,
                        progress=progress,
                    )
                except InputError:
                    if not within:
                        raise
                    note("no curve within videos: none has two objects with several frames each")
                    return curves
    return curves


def _write_curves(curves: dict[str, RetrievalScores], output: Path, store: DescriptorStore, as_json: bool) -> None:
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
            values = (
                scores.mean_average_precision,
                scores.precision_at_half_recall,
                scores.recall_at_1,
                scores.recall_at_5,
            )
            numbers = "".join(f"{100 * value:8.1f}" for value in values)
            say(f"  {name.removesuffix(f' {gallery}'):<22}{numbers}{scores.seconds:8.1f}s")
    say(f"{image}  the curves")
    say(f"{table}  the same as numbers")


def _segmenter(weights: str, model: dict[str, Any], query: Query) -> Segmenter:
    from hodor_cli.descriptors.export.export import store_info
    from hodor_cli.engine import Segmenter
    from hodor_cli.errors import InputError
    from hodor_cli.weights import load_model

    loaded = load_model(weights)
    if store_info(loaded).model_fingerprint != query.model_fingerprint:
        raise InputError(f"{query.label} was saved with other weights than {weights}; give those with --weights")
    return Segmenter(loaded, **model)


def _search(
    store: DescriptorStore,
    query: Query,
    comparison: Comparison,
    *,
    top: int,
    metric: Any,
    faiss: bool,
    segmenter: Segmenter | None,
) -> tuple[list[Match], list[VerifiedMatch] | None]:
    from hodor_cli.descriptors.search.search import search_objects
    from hodor_cli.descriptors.search.verify import verify_matches

    engine: Any = "faiss" if faiss else "numpy"
    matches = search_objects(store, query, comparison=comparison, metric=metric, top=top, engine=engine)
    if segmenter is None:
        return matches, None
    with progress_bar("verifying", len(matches), "objects") as advance:
        verified = verify_matches(
            store, query, matches, segmenter, comparison=comparison, metric=metric, progress=lambda done: advance(1)
        )
    return [result.match for result in verified], verified


def _show_matches(
    store: DescriptorStore,
    queries: list[Query],
    answers: list[tuple[list[Match], list[VerifiedMatch] | None]],
    comparison: Comparison,
    metric: str,
    output: Path,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from hodor_cli.descriptors.views.retrieval import describe_times, write_contact_sheet

    listed = []
    for number, (query, (matches, verified)) in enumerate(zip(queries, answers, strict=True)):
        sheet = output if len(queries) == 1 else output.with_stem(f"{output.stem}_{query.object_id or number + 1}")
        write_contact_sheet(sheet, store, query, matches)
        checks: list[VerifiedMatch | None] = [None] * len(matches) if verified is None else [*verified]
        if as_json:
            rows = []
            for match, check in zip(matches, checks, strict=True):
                extra = {} if check is None else {"verified": _verified_json(check)}
                rows.append({**asdict(match), **extra})
            compared = {"by": comparison.by, "metric": metric}
            listed.append({"query": query.label, **compared, "contact_sheet": str(sheet), "matches": rows})
            continue
        say(
            f"{query.label}: {len(matches)} most similar objects of {store.path}, "
            f"compared by {comparison.by}, {metric} distance"
        )
        for rank, (match, check) in enumerate(zip(matches, checks, strict=True), start=1):
            name = f"{match.video}/{match.object_id}"
            say(f"  {rank:>2}. {name:<28} {match.distance:8.3f}  {describe_times(match)}{_verified_words(check)}")
        say(f"{sheet}  the crops")
    if as_json:
        say_json(listed)


def _verified_json(check: VerifiedMatch) -> dict[str, Any]:
    keys = ("found", "distance", "confidence", "overlap", "problem")
    return {key: getattr(check, key) for key in keys} | ({} if check.found else {"distance": None})


def _verified_words(check: VerifiedMatch | None) -> str:
    if check is None:
        return ""
    if check.problem:
        return f"; not checked: {check.problem}"
    if not check.found:
        return "; not found there"
    return (
        f"; found there, distance {check.distance:.3f}, confidence {check.confidence:.2f}, overlap {check.overlap:.2f}"
    )
