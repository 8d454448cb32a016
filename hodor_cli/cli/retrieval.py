"""`hodor retrieval`: find an object again, and measure how well descriptors tell objects apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hodor_cli.cli.marks import Marks
from hodor_cli.cli.options import ByName, JsonOption, OverwriteOption, arg, opt, out_option, picture_file, switch
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.retrieval_texts import measure, show_matches, write_curves
from hodor_cli.cli.terminal import note, progress_bar
from hodor_cli.errors import InputError, UsageError, require_matplotlib
from hodor_cli.files import require_place
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.descriptors.search.query import Query
    from hodor_cli.descriptors.search.search import Match, VerifiedMatch
    from hodor_cli.model.hodor import Hodor


_TOP = 10


def retrieval(
    store: Annotated[
        Path | None, arg("FILE", "A descriptor file [default: objects.h5 here or in the workspace].")
    ] = None,
    *,
    pr_curve: Annotated[
        bool, switch("--pr-curve", "Draw precision-recall curves: every row queries the other rows of its object.")
    ] = False,
    query: Annotated[
        str | None,
        opt(
            "WHAT",
            "Object to search for: FILE.h5#VIDEO/ID, FILE.h5#VIDEO, or a photo or video in which --mask, --box or "
            "--click marks it.",
        ),
    ] = None,
    marks: Annotated[Marks, Fields()],
    out: Annotated[
        Path | None, out_option("FILE", "Image to write [default: pr_curve.png (and .csv), or matches.png].")
    ] = None,
    top: Annotated[int, opt("N", "Objects to show.", min=1)] = _TOP,
    by: Annotated[
        ByName | None,
        opt(
            "",
            "What to compare: the encoder's descriptors, the backbone's mean features (baseline), or a "
            "projection of both [default: projection, else baseline, else descriptor; for curves, all].",
        ),
    ] = None,
    projection: Annotated[
        Path | None, opt("FILE", "Projection for weights of your own, from `hodor train-projection`.")
    ] = None,
    metric: Annotated[Literal["euclidean", "cosine"], opt("", "Distance between query and rows.")] = "euclidean",
    verify: Annotated[
        bool, switch("--verify", "Also decode the query in the frames found, and include the result in the ranking.")
    ] = False,
    queries: Annotated[int | None, opt("N", "With --pr-curve, query N random rows instead of all.", min=1)] = None,
    as_json: JsonOption = False,
    overwrite: OverwriteOption = False,
    settings: Annotated[SegmentSettings, Fields("weights", "min_dim", "max_dim", "device", "precision")],
) -> None:
    """Find an object in a library of descriptors, or measure how well descriptors tell objects apart.

    hodor retrieval objects.h5 --query other.h5#bear/1
    hodor retrieval objects.h5 --query photo.jpg --mask photo_mask.png --verify
    hodor retrieval objects.h5 --query photo.jpg --box 310,120,200,260
    hodor retrieval objects.h5 --query other.mp4 --click 40=320,200
    hodor retrieval objects.h5 --pr-curve
    """
    from hodor_cli.descriptors.search.comparison import choose_comparison, possible_comparisons
    from hodor_cli.descriptors.search.search import search_objects, verify_matches
    from hodor_cli.descriptors.store.store import DescriptorStore, find_store
    from hodor_cli.descriptors.views.retrieval import write_contact_sheet
    from hodor_cli.weights import load_model, model_fingerprint

    _check_question(pr_curve, query, marked=bool(marks))
    if queries is not None and not pr_curve:
        raise UsageError("--queries goes with --pr-curve; --top limits the objects found")
    if pr_curve and (verify or metric == "cosine"):
        raise UsageError(f"{'--verify' if verify else '--metric cosine'} goes with --query; leave it out")
    if pr_curve and (top != _TOP or settings != SegmentSettings()):
        raise UsageError("--pr-curve compares all stored rows; leave out --top, --weights and other network options")
    if not (pr_curve or marks or verify) and settings != SegmentSettings():
        raise UsageError("for a stored object, only --verify uses --weights and other network options; leave them out")
    image = out or Path("pr_curve.png" if pr_curve else "matches.png")
    image = picture_file(image, query, *marks.files, overwrite=overwrite)
    with DescriptorStore(find_store(store)) as library:
        if pr_curve:
            require_matplotlib("`pr_curve`")
            require_place(image.with_suffix(".csv"), overwrite=overwrite)
            if by is None and projection is None:
                wanted = possible_comparisons(library)
                if len(wanted) == 1:
                    note("no baseline: it was not exported for every video")
            else:
                wanted = [choose_comparison(library, by, projection)]
            write_curves(measure(library, wanted, queries), image, library, as_json)
            return
        # Loaded once at most, and only if a mark or --verify needs it.
        network = cache(lambda: load_model(settings.weights))
        asked = _queries(str(query), settings, marks, network)
        stems = [f"{image.stem}_{one.object_id}" if len(asked) > 1 else image.stem for one in asked]
        sheets = [picture_file(image.with_stem(stem), query, *marks.files, overwrite=overwrite) for stem in stems]
        if verify and model_fingerprint(network()) != asked[0].model_fingerprint:
            saved = f"{asked[0].label} was saved with other weights than {settings.weights}"
            raise InputError(f"{saved}; give the same with --weights")
        segmenter = settings.segmenter(network()) if verify else None
        comparison = choose_comparison(library, by, projection)
        compared = {"by": comparison.by, "metric": metric, "alike_below": comparison.alike_below(metric)}
        found: list[dict[str, Any]] = []
        for one, sheet in zip(asked, sheets, strict=True):
            matches = search_objects(library, one, comparison=comparison, metric=metric, top=top)
            answers: list[tuple[Match, VerifiedMatch | None]] = [(match, None) for match in matches]
            if segmenter is not None:
                with progress_bar("verifying", len(matches), "objects") as show:
                    verified = verify_matches(
                        library, one, matches, segmenter, comparison=comparison, metric=metric, progress=show
                    )
                answers = [(check.match, check) for check in verified]
            checks = [check for _, check in answers if check is not None]
            write_contact_sheet(sheet, library, one, [match for match, _ in answers], checks)
            found.append({"query": one.label, **compared, "contact_sheet": str(sheet), "matches": answers})
        show_matches(library, found, as_json)


def _check_question(pr_curve: bool, query: str | None, *, marked: bool) -> None:
    """Raise UsageError unless exactly one question is asked. marked: whether --mask, --box or --click is given."""
    if pr_curve == (query is not None):
        raise UsageError("give either --pr-curve to measure or --query WHAT to search")
    if query is None and marked:
        raise UsageError("--mask, --box and --click go with --query PHOTO")
    if query is not None and not marked and "#" not in query:
        raise UsageError(f"{query} is not a stored object; give FILE.h5#VIDEO/ID, or use --mask, --box or --click")
    if query is not None and marked and "#" in query and not Path(query).exists():
        raise UsageError(f"{query} is a stored object; leave out --mask, --box and --click, which mark one in a photo")


def _queries(query: str, settings: SegmentSettings, marks: Marks, network: Callable[[], Hodor]) -> list[Query]:
    """The queried stored objects, or the objects marked in a photo or video."""
    from hodor_cli.descriptors.search.query import queries_of_frames, queries_of_store

    if not marks:
        return queries_of_store(query)
    from hodor_cli.descriptors.export.encode import FrameEncoder
    from hodor_cli.descriptors.export.sources import LabelledFrame
    from hodor_cli.descriptors.store.crops import masks_of_labels
    from hodor_cli.video.source import open_source

    with open_source(query) as frames:
        encoder = FrameEncoder(network(), settings)
        inputs = marks.read(frames)
        marked = (
            LabelledFrame(frame.index, frame.image, masks_of_labels(labels))
            for start in inputs.starts
            for frame in frames.between(start, start + 1)
            if (labels := inputs.at(frame).labels) is not None
        )
        return queries_of_frames(marked, Path(query).name, encoder)
