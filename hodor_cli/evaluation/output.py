"""The result folder of an evaluation.

OUT/results.json, sequences.csv, objects.csv, frames.csv
OUT/report.html, failures.png
OUT/predictions/SEQ/FRAME.png      a model's masks
OUT/submission.zip                 for sets whose truth is not public
OUT/history-N/, OUT/history.png    of a history sweep
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hodor_cli.datasets.dataset import Dataset
from hodor_cli.errors import OutputError
from hodor_cli.evaluation.results import JSON_NAME, EvaluationResult
from hodor_cli.evaluation.settings import EvaluationOutput
from hodor_cli.files import write_result, writing

_OURS = (JSON_NAME, "history.json", ".progress", "predictions")
_FILES = (
    JSON_NAME, "sequences.csv", "objects.csv", "frames.csv", "report.html", "failures.png", "submission.zip",
    "history.json", "history.png",
)  # fmt: skip


def check_output(output: EvaluationOutput) -> None:
    """Refuse a folder that would lose something.

    Raises OutputError when it is a file, holds what no evaluation made, or holds an evaluation that is neither resumed
    nor overwritten. Otherwise the old result files (not the masks) are removed, so that nothing there is older.
    """
    folder = output.folder
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose another `out`")
    there = {entry.name for entry in folder.iterdir()}
    if not there:
        return
    if not there.intersection(_OURS) and not any(name.startswith("history-") for name in there):
        raise OutputError(f"{folder} is a folder with other files in it; choose another `out`")
    if not output.resume and not output.overwrite:
        raise OutputError(
            f"{folder} holds an evaluation already; `resume` keeps its finished sequences, `overwrite` replaces it"
        )
    with writing(folder):
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)


def write_everything(result: EvaluationResult, dataset: Dataset, places: Mapping[str, Path], folder: Path) -> None:
    """Write numbers, failure sheet and report; `places` says where each sequence's predicted masks lie."""
    from hodor_cli.evaluation.failures import find_failures
    from hodor_cli.evaluation.report import write_page
    from hodor_cli.evaluation.sheet import write_failure_sheet

    result.write(folder)
    failures = find_failures(result, dataset, places) if result.sequences else []
    if failures:
        write_failure_sheet(failures, folder / "failures.png")
    write_page(folder / "report.html", result, failures)


def write_sweep(results: Sequence[EvaluationResult], folder: Path) -> None:
    """Write history.json, history.png and report.html of a sweep over history lengths."""
    from hodor_cli.evaluation.history_figure import history_svg, write_history_figure
    from hodor_cli.evaluation.report import write_sweep_page

    write_history_figure(results, folder / "history.png")
    write_sweep_page(folder / "report.html", results, history_svg(results))
    write_result(folder / "history.json", sweep_json(results).encode())


def sweep_json(results: Sequence[EvaluationResult]) -> str:
    """{"sweep": "history", "runs": [the results of each length]}."""
    content = {"sweep": "history", "runs": [result.to_dict() for result in results]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
