"""The result folder of an evaluation, with its page and its figures of J&F (HODOR, CVPR 2022, fig. 1).

OUT/results.json, sequences.csv, objects.csv, frames.csv
OUT/report.html, failures.png
OUT/predictions/SEQ/FRAME.png      a model's masks
OUT/submission.zip                 for data sets without public truth
OUT/history-N/, OUT/history.png    a history sweep
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from hodor_cli.datasets.dataset import Dataset
from hodor_cli.datasets.folders import masks_in, masks_of_frames
from hodor_cli.datasets.labels.mask_values import read_numbers
from hodor_cli.errors import InputError, OutputError, require_matplotlib
from hodor_cli.evaluation.failures import find_failures, write_failure_sheet
from hodor_cli.evaluation.results import JSON_NAME, EvaluationResult
from hodor_cli.evaluation.scoring import SequenceScore
from hodor_cli.evaluation.settings import EvaluationOutput
from hodor_cli.files import json_text, new_file, replacing, require_empty, write_result, writing
from hodor_cli.images.paths import listed
from hodor_cli.pages import percent, render, speed
from hodor_cli.settings import options_of
from hodor_cli.video.overlay import colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hodor_cli.evaluation.given import GivenScore

_OURS = (JSON_NAME, "history.json", ".progress", "predictions")
_FILES = (
    JSON_NAME, "sequences.csv", "objects.csv", "frames.csv", "report.html", "failures.png", "submission.zip",
    "history.json", "history.png",
)  # fmt: skip
J_COLOUR, SPEED_COLOUR = "#0b62a4", "#777777"

#: The colour and line style of each way to choose given frames.
_WAYS = {
    "suggest": (J_COLOUR, "o-"),
    "uniform": ("#d1730e", "s-"),
    "random": ("#3d9a50", "v:"),
    "one-way": (SPEED_COLOUR, "^--"),
}
#: The J&F axis spans at least this many percentage points.
_LEAST_SPAN = 4.0


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
    rows = [(score, *_over_time(score), result.timings.get(score.name)) for score in result.worst_first()]
    shown = [(failure, colour_of(failure.score.object_id)) for failure in failures]
    failed = [f"{name}: {message}" for name, message in result.failed.items()]
    title = f"Evaluation of {_short_name(result)}"
    _write_page(folder, result, title=title, numbers=_numbers(result), rows=rows, failures=shown, failed=failed)


def write_sweep(results: Sequence[EvaluationResult], folder: Path) -> None:
    """Write history.json, history.png and report.html of a sweep over history lengths."""
    figure, text = history_figure(results), io.StringIO()
    _save_figure(figure, folder / "history.png")
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = Markup(text.getvalue()[text.getvalue().index("<svg") :])
    title = f"History length on {_short_name(results[0])}"
    _write_page(folder, results[0], title=title, sweep=results, figure=drawn, without=("history",))
    write_result(folder / "history.json", json_text(sweep_to_dict(results)).encode())


def sweep_to_dict(results: Sequence[EvaluationResult]) -> dict[str, Any]:
    """Plain values for JSON: the result of each length."""
    return {"sweep": "history", "runs": [result.to_dict() for result in results]}


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


def history_figure(results: Sequence[EvaluationResult]) -> Figure:
    """J&F and frames/s against history length (HODOR, CVPR 2022, fig. 1). Raises UsageError without matplotlib."""
    lengths = [int(result.settings["history"]) for result in results]
    figure, axes = _empty_figure("a sweep of `history`")
    lines = axes.plot(lengths, [100 * result.jf for result in results], "o-", color=J_COLOUR, label="J&F")
    axes.set(xlabel="history length (frames)", xticks=lengths)
    axes.set_ylabel("J&F (%)", color=J_COLOUR)
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:  # tiny differences must not look like a collapse
        axes.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
    speeds = [speed for result in results if (speed := result.frames_per_second) is not None]
    if len(speeds) == len(results):
        other = axes.twinx()
        lines += other.plot(lengths, speeds, "s--", color=SPEED_COLOUR, label="frames/s")
        other.set_ylabel(f"frames/s ({str(results[0].settings.get('device', '')).split(',')[0]})", color=SPEED_COLOUR)
        other.set_ylim(0, 1.15 * max(speeds))
    axes.legend(handles=lines, loc="lower center", ncols=2, frameon=False)
    return figure


def write_given_figure(scores: Sequence[GivenScore], path: Path) -> None:
    """Plot J&F of the frames that were not given against the number of given masks, one line for each way, as PNG."""
    figure, axes = _empty_figure("the curve of `given`")
    for way, (colour, style) in _WAYS.items():
        points = [(score.given, 100 * score.means()["J&F"]) for score in scores if score.choose == way]
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=way)
    axes.set(xlabel="given masks", ylabel="J&F of the other frames (%)", xticks=sorted({one.given for one in scores}))
    axes.legend(frameon=False, loc="lower right")
    _save_figure(figure, path)


def _empty_figure(what: str) -> tuple[Figure, Axes]:
    """A figure with one empty plot. Raises UsageError if matplotlib, which `what` needs, is not installed."""
    require_matplotlib(what)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.6), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(axis="y", color="#e6e6e6")
    return figure, axes


def _save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _write_page(folder: Path, result: EvaluationResult, *, without: Sequence[str] = (), **values: Any) -> None:
    settings = [(name, _shown(value)) for name, value in result.settings.items() if name not in without]
    page = render("hodor_cli.evaluation", "report.html", result=result, settings=settings, **values)
    write_result(folder / "report.html", page.encode())


def _numbers(result: EvaluationResult) -> list[tuple[str, str]]:
    """The headline numbers: name and value."""
    if not result.sequences:
        return []
    names = ("J&F", "J", "F", "J_recall", "J_decay", "F_recall", "F_decay")
    numbers = [(name.replace("_", " "), percent(result.metric(name))) for name in names]
    numbers += [(f"J&F {group}", percent(means["J&F"])) for group, means in result.group_means().items()]
    if result.frames_per_second is not None:
        numbers.append(("frames/s, network", speed(result.frames_per_second)))
        numbers.append(("frames/s, end to end", speed(result.frames_per_second_end_to_end)))
    return numbers


def _short_name(result: EvaluationResult) -> str:
    return Path(str(result.settings.get("dataset", ""))).name or "a data set"


def _over_time(sequence: SequenceScore) -> npt.NDArray[np.float64]:
    """(2, frames): mean J and F over the objects that count in each frame."""
    frames = max((score.frames for score in sequence.objects.values()), key=len)
    positions = {frame: index for index, frame in enumerate(frames)}
    sums, counts = np.zeros((2, len(frames))), np.zeros(len(frames))
    for score in sequence.objects.values():
        where = [positions[frame] for frame in score.frames]
        sums[:, where] += np.stack([score.j_values, score.f_values])
        counts[where] += 1
    return sums / np.maximum(counts, 1)


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else "-" if value is None else str(value)
