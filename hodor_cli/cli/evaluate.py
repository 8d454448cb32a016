"""`hodor evaluate`: run and score a benchmark, or score existing masks; compare results."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hodor_cli.cli.options import AdaptOption, JsonFileOption, OverwriteOption, out_option, write_json
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import note, progress_to, stderr_console, stdout_console, warn
from hodor_cli.errors import DataError, OutputError, UsageError, require_matplotlib
from hodor_cli.evaluation.settings import EvaluationOutput, EvaluationSettings

if TYPE_CHECKING:
    from rich.console import Console

    from hodor_cli.datasets.dataset import Dataset
    from hodor_cli.engine.keyframes import OfflineSegmenter
    from hodor_cli.evaluation.given import Adapt, GivenSettings
    from hodor_cli.evaluation.results import EvaluationResult
    from hodor_cli.evaluation.settings import OnStart, Start
    from hodor_cli.model.hodor import Hodor


def evaluate(
    dataset: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET",
            help="Folder of a data set (DAVIS, YouTube-VOS, MOSE, LVOS, or images and masks); with --compare, two or "
            "more results.json.",
            show_default=False,
        ),
    ],
    *,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="DIR", help="Score these masks, DIR/SEQ/FRAME.png, and run no model."),
    ] = None,
    sequences: Annotated[
        str | None,
        typer.Option("--sequences", metavar="A,B,...", help="Only these sequences, or a split (train, val)."),
    ] = None,
    history: Annotated[
        str,
        typer.Option("--history", metavar="N[,N...]", help="Frames of history; several numbers draw a curve."),
    ] = "7",
    given: Annotated[
        str | None,
        typer.Option(
            "--given",
            metavar="N[,N...]",
            help="Give the true masks of N frames of each sequence and score the others; several draw a curve.",
        ),
    ] = None,
    choose: Annotated[
        str,
        typer.Option(
            "--choose",
            metavar="HOW[,HOW...]",
            help="With --given, how to choose the frames after the first: uniform, suggest, random; or one-way: "
            "uniform, and only followed forward, as in a live stream.",
        ),
    ] = "uniform",
    adapt: AdaptOption = None,
    out: Annotated[Path | None, out_option("FOLDER", "Write JSON, CSV, report.html, pictures and masks here.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished sequences in the folder.")] = False,
    overwrite: OverwriteOption = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare results: hodor evaluate --compare A.json B.json ...")
    ] = False,
    json_file: JsonFileOption = None,
    settings: Annotated[
        EvaluationSettings,
        Fields("weights", "official", "workers", "min_dim", "max_dim", "matching", "device", "precision"),
    ],
) -> None:
    """Run a model on a benchmark and score it (J, F, J&F, frames/s), or score the masks of any method.

    hodor evaluate DAVIS -o results
    hodor evaluate DAVIS --predictions masks
    hodor evaluate DAVIS --given 1,2,3,5 --choose suggest,uniform -o curve
    hodor evaluate --compare before/results.json after/results.json
    """
    console = stderr_console() if json_file == "-" else stdout_console()
    if compare:
        _compare(dataset, json_file, console)
        return
    lengths = _history_lengths(history)
    if given is not None:
        others = (predictions is not None, resume, settings.official, settings.workers is not None)
        if any(others) or len(lengths) > 1:
            raise UsageError(
                "--given runs a model by itself; leave out --predictions, --resume, --official, --workers and the sweep"
            )
        target = _Target(out, overwrite, json_file)
        settings = replace(settings, history=lengths[0], adapt=adapt)
        _evaluate_given(dataset, _names(sequences), _given_settings(given, choose), settings, target, console)
        return
    _check_options(dataset, settings.weights, predictions, lengths)
    if len(lengths) > 1:
        require_matplotlib("a sweep of `history`")
    if (resume or overwrite) and out is None:
        raise UsageError(f"{'`resume`' if resume else '`overwrite`'} is about the folder of `out`; give that as well")
    if resume and predictions is not None:
        raise UsageError("`resume` continues a model's run; scoring `predictions` has nothing to resume; leave it out")
    output = None if out is None else EvaluationOutput(out, resume, overwrite)
    from hodor_cli.formats.as_folders import mask_folder, open_benchmark

    with ExitStack() as stack:
        whole = stack.enter_context(open_benchmark(dataset[0]))
        if predictions is not None:
            predictions = stack.enter_context(mask_folder(predictions))
        found = whole.select(_names(sequences))
        console.print(found.describe())
        if json_file not in (None, "-") and Path(str(json_file)).exists() and not (overwrite or resume):
            raise OutputError(
                f"{json_file} exists already; choose another name for --json or add `overwrite` with `out`"
            )
        job: dict[str, Any] = {"output": output}
        if predictions is not None:
            job["predictions"] = predictions
        else:
            from hodor_cli.weights import load_model

            settings = replace(settings, weights=settings.weights or "mini", adapt=adapt)
            job["model"] = load_model(settings.weights or "mini")
            if adapt is not None:
                dims = job["model"].config.resolution(settings.min_dim, settings.max_dim, adapted=True)
                job["on_start"] = adapting(adapt, dims, settings.precision)
        results = _evaluate(found, lengths, settings, job)
        if len(results) > 1:
            _print_sweep(results, console, out)
        else:
            _print_result(results[0], console, out)
        if json_file is not None:
            from hodor_cli.evaluation.output import sweep_json

            write_json(results[0].to_json() if len(results) == 1 else sweep_json(results), json_file)
        _require_all(results, len(found.sequences))


def _require_all(results: list[EvaluationResult], sequences: int) -> None:
    """Warn of every sequence that failed, and raise DataError if there are any."""
    failed = {name: message for result in results for name, message in result.failed.items()}
    if failed:
        for name, message in failed.items():
            warn(f"{name}: {message}")
        raise DataError(f"{len(failed)} of {sequences} sequences failed, the others are above: {', '.join(failed)}")


@dataclass(frozen=True)
class _Target:
    """Where results go: a folder, and a file of JSON."""

    out: Path | None
    overwrite: bool
    json_file: str | None


def _given_settings(given: str, choose: str) -> GivenSettings:
    from hodor_cli.evaluation.given import GivenSettings

    try:
        counts = tuple(int(part) for part in given.split(","))
    except ValueError:
        raise UsageError(f"--given takes numbers of masks such as 1,2,3,5, not {given!r}") from None
    return GivenSettings(counts, tuple(_names(choose) or ()))  # type: ignore[arg-type]


def _evaluate_given(
    dataset: list[Path],
    sequences: list[str] | None,
    how: GivenSettings,
    settings: EvaluationSettings,
    target: _Target,
    console: Console,
) -> None:
    """Run and print the curve over the number of given masks."""
    from hodor_cli.cli.evaluate_tables import print_given
    from hodor_cli.evaluation.given import evaluate_given, given_json, write_given
    from hodor_cli.formats.as_folders import open_benchmark
    from hodor_cli.weights import load_model

    if len(dataset) > 1:
        raise UsageError(f"one data set at a time, not {len(dataset)}")
    if target.out is not None:
        require_matplotlib("the curve of `given`")
        if (target.out / "given.json").exists() and not target.overwrite:
            raise OutputError(f"{target.out} holds results already; choose another folder, or add `overwrite`")
    weights = settings.weights or "mini"
    with open_benchmark(dataset[0]) as whole, progress_to("evaluating", None) as progress:
        found = whole.select(sequences)
        console.print(found.describe())
        model = load_model(weights)
        segmenter = settings.offline(model)
        adapt = None if settings.adapt is None else adapting_offline(model, settings)
        scores = evaluate_given(found, segmenter, how, adapt=adapt, progress=progress)
    print_given(scores, console)
    facts = {"dataset": str(dataset[0]), "weights": weights, "min_dim": segmenter.min_dim, "adapt": settings.adapt}
    if target.json_file is not None:
        write_json(given_json(scores, facts), target.json_file, overwrite=target.overwrite)
    if target.out is not None:
        write_given(scores, facts, target.out)
        console.print(f"Results in {target.out}: given.json and given.png")


def adapting(budget: str, dims: tuple[int, int], precision: str) -> OnStart:
    """A function that replaces a segmenter by one whose network is adapted to the sequence's first masks, as a run of
    `segment` with `adapt` does it.

    dims: min_dim and max_dim.
    """
    from hodor_cli.engine import Segmenter
    from hodor_cli.images.picture import read_picture
    from hodor_cli.training.adapt_settings import CHECKED_AHEAD, AdaptSettings, Budget
    from hodor_cli.training.adaptation import adapt, default_cache
    from hodor_cli.training.agreement import Example

    min_dim, max_dim = dims
    settings = AdaptSettings(Budget.parse(budget), min_dim=min_dim, max_dim=max_dim, precision=precision)

    def on_start(segmenter: Any, start: Start) -> Any:
        checked = [read_picture(start.following[n - 1]) for n in CHECKED_AHEAD if n <= len(start.following)]
        example = Example.of(start.frame, start.masks)
        adapted = adapt(segmenter.model, [example], settings, frames=checked, cache=default_cache())
        return Segmenter(
            adapted,
            history=segmenter.history,
            min_dim=min_dim,
            max_dim=max_dim,
            device=segmenter.device,
            precision=precision,
            matching=segmenter.matching,
        )

    return on_start


def adapting_offline(model: Hodor, settings: EvaluationSettings) -> Adapt:
    """A function that makes a segmenter whose network is adapted to given frames."""
    from hodor_cli.training.adapt_settings import AdaptSettings, Budget
    from hodor_cli.training.adaptation import adapt, default_cache
    from hodor_cli.training.agreement import Example

    min_dim, max_dim = model.config.resolution(settings.min_dim, settings.max_dim, adapted=True)
    how = AdaptSettings(
        Budget.parse(settings.adapt or ""), min_dim=min_dim, max_dim=max_dim, precision=settings.precision
    )

    def offline(given: list[tuple[Any, Any]], checked: list[Any]) -> OfflineSegmenter:
        examples = [Example(frame, labels) for frame, labels in given]
        adapted = adapt(model, examples, how, frames=checked, cache=default_cache())
        return replace(settings, min_dim=min_dim, max_dim=max_dim).offline(adapted)

    return offline


def _evaluate(
    found: Dataset, lengths: list[int], settings: EvaluationSettings, job: dict[str, Any]
) -> list[EvaluationResult]:
    from hodor_cli.evaluation.runner import evaluate as run
    from hodor_cli.evaluation.runner import sweep_history

    with progress_to("evaluating", None) as progress:
        if len(lengths) > 1:
            return sweep_history(found, lengths, settings=settings, progress=progress, **job)
        return [run(found, settings=replace(settings, history=lengths[0]), progress=progress, **job)]


def _check_options(dataset: list[Path], weights: str | None, predictions: Path | None, lengths: list[int]) -> None:
    if len(dataset) > 1:
        raise UsageError(f"one data set at a time, not {len(dataset)}; to compare results add --compare")
    if weights is not None and predictions is not None:
        raise UsageError("`weights` runs a model and `predictions` scores masks that are there; give one of them")
    if predictions is not None and len(lengths) > 1:
        raise UsageError("several lengths of `history` run a model; they go with `weights`, not with `predictions`")


def _history_lengths(text: str) -> list[int]:
    try:
        lengths = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 1:
        raise UsageError(f"--history takes a number from 1 on, or several such as 1,2,4,7, not {text!r}")
    return lengths


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _print_result(result: EvaluationResult, console: Console, out: Path | None) -> None:
    from hodor_cli.cli.evaluate_tables import print_official, print_scores

    for remark in result.notes:
        note(f"note: {remark}")
    if result.sequences:
        print_scores(result, console)
        print_official(result, console)
    speed = result.frames_per_second
    if speed is not None and speed == speed:
        whole = result.frames_per_second_end_to_end
        device = result.settings.get("device")
        console.print(f"{speed:.2f} frames/s in the network, {whole:.2f} end to end, on {device}")
    if result.submission is not None:
        console.print(f"For the server: {result.submission}")
    if out is not None:
        console.print(f"Results in {out}; open {out / 'report.html'}")


def _print_sweep(results: list[EvaluationResult], console: Console, out: Path | None) -> None:
    from hodor_cli.cli.evaluate_tables import print_sweep

    for remark in dict.fromkeys(remark for result in results for remark in result.notes):
        note(f"note: {remark}")
    print_sweep(results, console)
    console.print(f"frames/s in the network, on {results[0].settings.get('device')}")
    if out is not None:
        console.print(f"Results in {out}; open {out / 'report.html'}")


def _compare(paths: list[Path], json_file: str | None, console: Console) -> None:
    from hodor_cli.cli.evaluate_tables import print_comparison
    from hodor_cli.evaluation.comparison import compare

    comparisons = compare(paths)
    for comparison in comparisons:
        print_comparison(comparison, console)
    if json_file is not None:
        write_json(json.dumps([one.to_dict() for one in comparisons], indent=2), json_file, overwrite=False)
