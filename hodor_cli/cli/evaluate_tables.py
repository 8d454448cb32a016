"""The tables that `hodor evaluate` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hodor_cli.cli.terminal import counted
from hodor_cli.images.paths import listed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hodor_cli.evaluation.comparison import ResultComparison
    from hodor_cli.evaluation.results import EvaluationResult


def print_scores(result: EvaluationResult, console: Console) -> None:
    """Sequences, worst first, and the whole below; the official package's numbers beside ours."""
    several = any(len(sequence.objects) > 1 for sequence in result.sequences.values())
    table = score_table("sequence", "J&F", "J", "F", *(("objects", "worst object") if several else ()))
    for sequence in result.worst_first():
        worst = min(sequence.objects.values(), key=lambda score: score.jf)
        more = (str(len(sequence.objects)), f"{worst.object_id} ({percent(worst.jf)})") if several else ()
        table.add_row(
            sequence.name,
            *(percent(value) for value in (sequence.jf, sequence.j, sequence.f)),
            *more,
        )
    table.add_section()
    objects = sum(len(sequence.objects) for sequence in result.sequences.values())
    whole = (percent(value) for value in (result.jf, result.j, result.f))
    table.add_row("all objects", *whole, *((str(objects), "") if several else ()))
    console.print(table)
    console.print(
        "  ".join(
            f"{name.replace('_', ' ')} {percent(result.metric(name))}"
            for name in ("J_recall", "J_decay", "F_recall", "F_decay")
        )
    )
    for group, means in result.group_means().items():
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
    """J&F and speed per history length."""
    table = score_table("history", "J&F", "J", "F", "frames/s")
    for result in results:
        speed = result.frames_per_second
        table.add_row(
            str(result.settings["history"]),
            *(percent(value) for value in (result.jf, result.j, result.f)),
            "-" if speed is None or speed != speed else f"{speed:.2f}",
        )
    console.print(table)


def print_comparison(comparison: ResultComparison, console: Console) -> None:
    """Per-sequence differences, largest loss first, and the interval of the whole."""
    table = score_table("sequence", comparison.name_a, comparison.name_b, "difference")
    for name, (a, b) in sorted(comparison.sequences.items(), key=lambda item: item[1][1] - item[1][0]):
        table.add_row(name, percent(a), percent(b), f"{100 * (b - a):+.1f}")
    table.add_section()
    table.add_row(
        "all objects", percent(comparison.value_a), percent(comparison.value_b), f"{100 * comparison.difference:+.1f}"
    )
    console.print(table)
    said = f"{comparison.metric} of {comparison.name_b} minus {comparison.name_a}: {100 * comparison.difference:+.2f}"
    count = counted(len(comparison.sequences), "sequence")
    if comparison.interval is None:
        console.print(f"{said}, over {count}: {comparison.verdict}")
    else:
        low, high = comparison.interval
        interval = f"95 % interval {100 * low:+.2f} to {100 * high:+.2f} (paired bootstrap over {count})"
        console.print(f"{said}, {interval}: {comparison.verdict}")
    if comparison.only_in_one:
        console.print(f"Left out, because only one of the two has them: {listed(comparison.only_in_one, 8)}")


def score_table(first: str, *others: str) -> Table:
    """A table with numbers in all columns but the first."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def percent(value: float) -> str:
    """A share as a percentage; - for NaN."""
    return "-" if value != value else f"{100 * value:.1f}"
