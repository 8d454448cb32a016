"""`hodor evaluate`: run and score a benchmark, or score existing masks; compare results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hodor_cli.cli import options as common
from hodor_cli.cli.evaluate_parts import evaluate_given, print_comparison, print_scores, print_sweep
from hodor_cli.cli.options import arg, names_in, numbers_in, opt, out_option, require_new_json, switch, write_json
from hodor_cli.cli.parameters import Fields
from hodor_cli.cli.terminal import new_console, note, progress_bar, warn
from hodor_cli.errors import DataError, UsageError
from hodor_cli.evaluation.settings import EvaluationOutput, EvaluationSettings

if TYPE_CHECKING:
    from rich.console import Console

    from hodor_cli.datasets.dataset import Dataset
    from hodor_cli.evaluation.results import EvaluationResult


def evaluate(
    dataset: Annotated[
        list[Path],
        arg(
            "DATASET",
            "A data set folder (DAVIS, YouTube-VOS, MOSE, LVOS, or images and masks); with --compare, two or more "
            "results.json files or their folders.",
        ),
    ],
    *,
    predictions: Annotated[Path | None, opt("DIR", "Score these masks (DIR/SEQ/FRAME.png) instead of a model.")] = None,
    sequences: Annotated[str | None, opt("A,B,...", "Only these sequences, or a split (train, val).")] = None,
    history: Annotated[str, opt("N[,N...]", "Frames of history; several numbers draw a curve.")] = "7",
    given: Annotated[
        str | None,
        opt(
            "N[,N...]", "Give the true masks of N frames per sequence, score the others; several numbers draw a curve."
        ),
    ] = None,
    choose: Annotated[
        str,
        opt(
            "HOW[,HOW...]",
            "With --given, how to choose the frames after the first: uniform, suggest, random, or one-way (uniform, "
            "but tracked only forward, as in a live stream).",
        ),
    ] = "uniform",
    adapt: common.AdaptOption = None,
    out: Annotated[Path | None, out_option("FOLDER", "Folder for JSON, CSV, report.html, pictures and masks.")] = None,
    resume: Annotated[bool, switch("--resume", "Keep finished sequences and evaluate the rest.")] = False,
    overwrite: common.OverwriteOption = False,
    compare: Annotated[
        bool, switch("--compare", "Compare results: hodor evaluate --compare A.json B.json ...")
    ] = False,
    json_file: common.JsonFileOption = None,
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
    console = new_console(stderr=json_file == "-")
    require_new_json(json_file, overwrite=overwrite or resume)
    network = replace(settings, official=False, workers=None) != EvaluationSettings()
    runs = network or adapt is not None or resume or history != "7"
    if compare:
        unused = (predictions, sequences, given, out, overwrite or None, None if choose == "uniform" else choose)
        if runs or settings != EvaluationSettings() or unused != (None,) * len(unused):
            raise UsageError("`compare` reads finished results; leave out all other options except `json`")
        _compare(dataset, json_file, console)
        return
    if len(dataset) > 1:
        raise UsageError(f"one data set at a time, not {len(dataset)}; to compare results add --compare")
    if (resume or overwrite) and out is None:
        raise UsageError(f"{'`resume`' if resume else '`overwrite`'} needs the folder of `out`; give that as well")
    lengths, names = _history_lengths(history), None if sequences is None else names_in(sequences)
    settings, output = replace(settings, adapt=adapt), None if out is None else EvaluationOutput(out, resume, overwrite)
    if given is not None:
        others = (predictions is not None, resume, settings.official, settings.workers is not None)
        if any(others) or len(lengths) > 1:
            raise UsageError("--given excludes --predictions, --resume, --official, --workers and several --history")
        settings = replace(settings, history=lengths[0], weights=settings.weights or "mini")
        write_json(evaluate_given(dataset[0], names, given, choose, settings, output, console), json_file)
        return
    if choose != "uniform":
        raise UsageError("`choose` selects frames for `given`; give that as well")
    if predictions is not None and runs:
        raise UsageError("`predictions` scores masks; leave out `weights`, `history` and other network options")
    if predictions is None and settings.workers is not None:
        raise UsageError("`workers` score the masks of `predictions`; those of a model are scored while it runs")
    from hodor_cli.evaluation.output import sweep_to_dict
    from hodor_cli.formats.opening import open_benchmark

    with open_benchmark(dataset[0]) as whole:
        found = whole.select(names)
        console.print(found.describe())
        results = _results(found, lengths, predictions, settings, output)
        _print_results(results, console, out)
        write_json(results[0].to_dict() if len(results) == 1 else sweep_to_dict(results), json_file)
    if failed := {name: message for result in results for name, message in result.failed.items()}:
        for name, message in failed.items():
            warn(f"{name}: {message}")
        count = len(found.sequences)
        raise DataError(f"{len(failed)} of {count} sequences failed; the others are scored above: {', '.join(failed)}")


def _results(
    found: Dataset,
    lengths: list[int],
    predictions: Path | None,
    settings: EvaluationSettings,
    output: EvaluationOutput | None,
) -> list[EvaluationResult]:
    """The result of the predictions, or of a model with each length of history."""
    from hodor_cli.evaluation.runner import evaluate, sweep_history
    from hodor_cli.weights import load_model

    model = None
    if predictions is None:
        weights = settings.weights or "mini"
        model, settings = load_model(weights), replace(settings, weights=weights, history=lengths[0])
    with progress_bar("evaluating", None) as progress:
        how: dict[str, Any] = {"settings": settings, "output": output, "progress": progress}
        if model is not None and len(lengths) > 1:
            return sweep_history(found, lengths, model=model, **how)
        return [evaluate(found, model=model, predictions=predictions, **how)]


def _history_lengths(text: str) -> list[int]:
    wrong = f"--history takes a number of at least 1, or several such as 1,2,4,7, not {text!r}"
    lengths = list(dict.fromkeys(numbers_in(text, int, wrong)))
    if min(lengths) < 1:
        raise UsageError(wrong)
    return lengths


def _print_results(results: list[EvaluationResult], console: Console, out: Path | None) -> None:
    for remark in dict.fromkeys(remark for result in results for remark in result.notes):
        note(f"note: {remark}")
    result, device = results[0], results[0].settings.get("device")
    if len(results) > 1:
        print_sweep(results, console)
        console.print(f"frames/s in the network, on {device}")
    else:
        if result.sequences:
            print_scores(result, console)
        speed, whole = result.frames_per_second, result.frames_per_second_end_to_end
        if speed is not None:
            console.print(f"{speed:.2f} frames/s in the network, {whole:.2f} end to end, on {device}")
        if result.submission is not None:
            console.print(f"For the server: {result.submission}")
    if out is not None:
        page = out / "report.html"  # a sweep without truth has none
        console.print(f"Results in {out}" + (f"; open {page}" if page.exists() else ""))


def _compare(paths: list[Path], json_file: str | None, console: Console) -> None:
    from hodor_cli.evaluation.comparison import compare

    comparisons = compare([path / "results.json" if path.is_dir() else path for path in paths])
    for comparison in comparisons:
        print_comparison(comparison, console)
    write_json([one.to_dict() for one in comparisons], json_file)
