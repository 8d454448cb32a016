"""The result folder of an evaluation.

OUT/results.json, sequences.csv, objects.csv, frames.csv
OUT/report.html, failures.png
OUT/predictions/SEQ/FRAME.png      a model's masks
OUT/submission.zip                 for data sets without public truth
OUT/history-N/, OUT/history.png    a history sweep
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hodor_cli.datasets.dataset import Dataset
from hodor_cli.datasets.folders import masks_in, masks_of_frames
from hodor_cli.datasets.labels.mask_values import read_numbers
from hodor_cli.errors import InputError, OutputError
from hodor_cli.evaluation.failures import find_failures, write_failure_sheet
from hodor_cli.evaluation.report import history_figure, save_figure, write_page, write_sweep_page
from hodor_cli.evaluation.results import JSON_NAME, EvaluationResult
from hodor_cli.evaluation.settings import EvaluationOutput
from hodor_cli.files import replacing, require_empty, write_result, writing
from hodor_cli.images.paths import listed
from hodor_cli.settings import options_of

_OURS = (JSON_NAME, "history.json", ".progress", "predictions")
_FILES = (
    JSON_NAME, "sequences.csv", "objects.csv", "frames.csv", "report.html", "failures.png", "submission.zip",
    "history.json", "history.png",
)  # fmt: skip


def check_output(output: EvaluationOutput) -> None:
    """Check that writing into the folder loses nothing, and remove the result files of an earlier evaluation.

    Raises OutputError if the path is a file, or the folder holds other files or an evaluation that is neither resumed
    nor overwritten. Masks are kept.
    """
    folder = options_of(EvaluationOutput, output, "output").folder
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose another `out`")
    there = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if not there:
        return
    if not there.intersection(_OURS) and not any(name.startswith("history-") for name in there):
        require_empty(folder)
    if not output.resume and not output.overwrite:
        raise OutputError(f"{folder} holds an evaluation; `resume` keeps finished sequences, `overwrite` replaces it")
    with writing(folder):
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)


def write_everything(result: EvaluationResult, dataset: Dataset, places: Mapping[str, Path], folder: Path) -> None:
    """Write scores, failure sheet and report. places: the folder of each sequence's predicted masks."""
    result.write(folder)
    failures = find_failures(result, dataset, places) if result.sequences else []
    if failures:
        write_failure_sheet(failures, folder / "failures.png")
    write_page(folder / "report.html", result, failures)


def write_sweep(results: Sequence[EvaluationResult], folder: Path) -> None:
    """Write history.json, history.png and report.html of a sweep over history lengths."""
    figure = history_figure(results)
    save_figure(figure, folder / "history.png")
    write_sweep_page(folder / "report.html", results, figure)
    write_result(folder / "history.json", sweep_json(results).encode())


def sweep_json(results: Sequence[EvaluationResult]) -> str:
    """{"sweep": "history", "runs": [the result of each length]} as JSON."""
    content = {"sweep": "history", "runs": [result.to_dict() for result in results]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def pack_submission(dataset: Dataset, places: Mapping[str, Path], target: Path) -> Path:
    """Pack the predicted masks of all sequences, from `places`, into the zip that the data set's server expects, and
    return its path.

    DAVIS and MOSE expect SEQ/FRAME.png, YouTube-VOS expects Annotations/SEQ/FRAME.png for only the frames of its
    meta.json. Raises InputError if masks are missing or have ids above 255, which do not fit into 8-bit label PNGs.
    """
    prefix = "Annotations/" if dataset.kind == "youtube-vos" else ""
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        # The masks are already compressed.
        with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, sequence in dataset.sequences.items():
                frames = sequence.frames
                files = masks_of_frames(places[name], frames)[0] if frames else masks_in(places[name])
                wanted = list(sequence.wanted or sequence.images or files)
                missing = [frame for frame in wanted if frame not in files]
                if missing:
                    raise InputError(f"{places[name]} has no mask for frame {listed(missing, 20)}")
                for frame in wanted:
                    file = files[frame]
                    values = read_numbers(file)
                    if file.suffix.lower() != ".png" or values is None:
                        raise InputError(f"{file} is not an indexed PNG, the only format that servers accept")
                    if values.dtype.itemsize > 1:
                        raise InputError(f"{file} is a 16-bit PNG, but servers accept only ids up to 255")
                    archive.write(file, f"{prefix}{name}/{frame}.png")
    return target
