"""Parts of `hodor evaluate`: its tables, and the curve over given masks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.options import names_in, numbers_in
from hodor_cli.cli.terminal import note, progress_bar
from hodor_cli.errors import OutputError, require_matplotlib
from hodor_cli.evaluation.settings import EvaluationOutput, EvaluationSettings
from hodor_cli.files import writing
from hodor_cli.images.paths import listed, plural
from hodor_cli.pages import percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hodor_cli.evaluation.comparison import ResultComparison
    from hodor_cli.evaluation.results import EvaluationResult


def print_scores(result: EvaluationResult, console: Console) -> None:
    """Print the scores of the sequences, worst first, and of the whole set, with the official numbers next to ours."""
    several = any(len(sequence.objects) > 1 for sequence in result.sequences.values())
    table = score_table("sequence", "J&F", "J", "F", *(("objects", "worst object") if several else ()))
    for sequence in result.worst_first():
        worst = min(sequence.objects.values(), key=lambda score: score.jf)
        more = (str(len(sequence.objects)), f"{worst.object_id} ({percent(worst.jf)})") if several else ()
        table.add_row(sequence.name, *map(percent, (sequence.jf, sequence.j, sequence.f)), *more)
    table.add_section()
    objects = sum(len(sequence.objects) for sequence in result.sequences.values())
    more, groups = (str(objects), "") if several else (), result.group_means()
    row = f"mean of {' and '.join(groups)}" if groups else "all objects"
    table.add_row(row, *map(percent, (result.jf, result.j, result.f)), *more)
    console.print(table)
    names = ("J_recall", "J_decay", "F_recall", "F_decay")
    console.print("  ".join(f"{name.replace('_', ' ')} {percent(result.metric(name))}" for name in names))
    for group, means in groups.items():
        console.print(f"{group}: J {percent(means['J'])}  F {percent(means['F'])}")
    if result.failed:
        console.print(f"without the {len(result.failed)} that failed: {', '.join(result.failed)}")
    official = result.settings.get("official")
    if not official:
        return
    table = score_table("", "official", "ours")
    for name, value in official.items():
        table.add_row(name.replace("_", " "), f"{100 * value:.4f}", f"{100 * result.metric(name):.4f}")
    console.print(table)
    if any(abs(value - result.metric(name)) > 1e-6 for name, value in official.items()):
        console.print("They differ: see the remarks (void pixels, ids, or a decay past 256 frames).")


def print_sweep(results: list[EvaluationResult], console: Console) -> None:
    """Print J&F and speed per history length."""
    table = score_table("history", "J&F", "J", "F", "frames/s")
    for result in results:
        speed = result.frames_per_second
        table.add_row(
            str(result.settings["history"]),
            *map(percent, (result.jf, result.j, result.f)),
            "-" if speed is None else f"{speed:.2f}",
        )
    console.print(table)


def print_comparison(comparison: ResultComparison, console: Console) -> None:
    """Print the difference of each sequence, largest loss first, and the interval of the overall difference."""
    table = score_table("sequence", comparison.name_a, comparison.name_b, "difference")
    for name, (a, b) in sorted(comparison.sequences.items(), key=lambda item: item[1][1] - item[1][0]):
        table.add_row(name, percent(a), percent(b), f"{100 * (b - a):+.1f}")
    table.add_section()
    table.add_row(
        "all objects", percent(comparison.value_a), percent(comparison.value_b), f"{100 * comparison.difference:+.1f}"
    )
    console.print(table)
    said = f"J&F of {comparison.name_b} minus {comparison.name_a}: {100 * comparison.difference:+.2f}"
    count = plural(len(comparison.sequences), "sequence")
    if comparison.interval is None:
        console.print(f"{said}, over {count}: {comparison.verdict}")
    else:
        low, high = comparison.interval
        interval = f"95 % interval {100 * low:+.2f} to {100 * high:+.2f} (paired bootstrap over {count})"
        console.print(f"{said}, {interval}: {comparison.verdict}")
    if comparison.only_in_one:
        console.print(f"Left out, because only one of the two has them: {listed(comparison.only_in_one, 8)}")


def score_table(first: str, *others: str) -> Table:
    """A table with numbers in all columns but the first; long names go on in the next line."""
    from rich import box
    from rich.table import Column, Table

    numbers = (Column(name, justify="right", overflow="fold") for name in others)
    return Table(Column(first, overflow="fold"), *numbers, box=box.SIMPLE_HEAD)


def evaluate_given(
    dataset: Path,
    sequences: list[str] | None,
    given: str,
    choose: str,
    settings: EvaluationSettings,
    output: EvaluationOutput | None,
    console: Console,
) -> dict[str, Any]:
    """Compute and print the curve over the number of given masks, from --given and --choose; returns it for JSON."""
    from hodor_cli.evaluation.given import GivenSettings, adapted_segmenter, evaluate_given, write_given
    from hodor_cli.formats.opening import open_benchmark
    from hodor_cli.weights import load_model

    counts = numbers_in(given, int, f"--given takes numbers of masks such as 1,2,3,5, not {given!r}")
    chosen = GivenSettings(tuple(counts), tuple(names_in(choose)))  # type: ignore[arg-type]
    if output is not None:
        require_matplotlib("the curve of `given`")
        if (output.folder / "given.json").exists() and not output.overwrite:
            raise OutputError(f"{output.folder} holds results already; choose another folder, or add `overwrite`")
    with open_benchmark(dataset) as whole, progress_bar("evaluating", None) as progress:
        found = whole.select(sequences)
        console.print(found.describe())
        model = load_model(settings.weights or "")
        segmenter = settings.offline(model)
        adapt = None if settings.adapt is None else partial(adapted_segmenter, model, settings)
        if output is not None:  # fail now rather than after the run
            with writing(output.folder):
                output.folder.mkdir(parents=True, exist_ok=True)
        scores = evaluate_given(found, segmenter, chosen, adapt=adapt, progress=progress)
    table = score_table("chosen", "masks", "J&F", "J", "F")
    for score in scores:
        table.add_row(score.choose, str(score.given), *map(percent, score.means().values()))
    console.print(table)
    for score in scores:
        for name, ids in score.unknown.items():
            point = f"{score.choose}, {plural(score.given, 'mask')}"
            note(f"note: {point}: no given mask of {name} shows object {listed(ids)}, which counts as missed")
    content: dict[str, Any] = {"dataset": str(dataset), "weights": settings.weights}
    content |= {"min_dim": segmenter.min_dim if adapt is None else settings.min_dim, "adapt": settings.adapt}
    content["scores"] = [score.to_dict() for score in scores]
    if output is not None:
        write_given(scores, content, output.folder)
        console.print(f"Results in {output.folder}: given.json and given.png")
    return content
