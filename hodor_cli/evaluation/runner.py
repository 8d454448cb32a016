"""Evaluating: run a model on a data set or take masks, score them, write the results."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import hodor_cli
from hodor_cli.datasets.dataset import Dataset, recognise
from hodor_cli.errors import DataError, UsageError
from hodor_cli.evaluation.model_run import OnStart, StepSegmenter, remove_predictions, run_model
from hodor_cli.evaluation.official import require_official, run_official
from hodor_cli.evaluation.output import check_output, write_everything
from hodor_cli.evaluation.predictions import Progress, find_predictions, score_predictions
from hodor_cli.evaluation.results import EvaluationResult, Timing
from hodor_cli.evaluation.scoring import SequenceScore
from hodor_cli.evaluation.submission import pack_submission
from hodor_cli.images.paths import plural


def evaluate(
    dataset: str | Path | Dataset,
    *,
    model: Any = None,
    predictions: str | Path | None = None,
    sequences: Sequence[str] | None = None,
    history: int = 7,
    min_dim: int | None = None,
    max_dim: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    matching: bool = True,
    out: str | Path | None = None,
    workers: int | None = None,
    official: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    segmenter: StepSegmenter | None = None,
    on_start: OnStart | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Run a model on a data set and score it, or score the masks in `predictions`.

    Args:
        dataset: The data set's folder, or what `recognise` made of it.
        model: The network, as `load_model` gives it; runs with `history`, `min_dim`, `max_dim`, `device`, `precision`,
            `matching`, as `Segmenter` takes them.
        predictions: Masks that anyone made, SEQ/FRAME.png, instead of a model.
        sequences: Names of sequences, or of a split; all by default.
        out: Folder for results.json, CSV files, report.html, the failure sheet, and predictions/ of a model. Without it
            only numbers are kept, in memory.
        workers: Processes that score `predictions`.
        official: Score with the official DAVIS package as well; its numbers go to `settings["official"]`.
        resume: Keep the sequences that an earlier run with the same settings finished in `out`. Only their masks are
            kept: all scores are computed anew.
        overwrite: Replace what an earlier evaluation left in `out`.
        limit: At most so many frames per sequence.
        segmenter: Stands in for one made from `model`.
        on_start: See `model_run.OnStart`.
        settings: More values for the result's `settings`, such as the weights' name; with `resume` they must be equal.
        progress: Called with frames done and frames in all.

    Returns:
        Scores, timings, remarks, and the sequences that failed (the others count).

    Raises:
        UsageError: arguments that contradict each other. InputError, DataError: nothing could be evaluated.
        OutputError: `out` exists and neither `resume` nor `overwrite` was given, or cannot be written to.
    """
    found = (dataset if isinstance(dataset, Dataset) else recognise(dataset)).select(sequences)
    runs = model is not None or segmenter is not None
    if runs == (predictions is not None):
        raise UsageError("give either a model or a folder of predictions")
    folder = None if out is None else Path(out)
    if runs and not found.has_truth and folder is None:
        raise UsageError(f"the truth of {found.root} is not public; give -o FOLDER for the masks and the server's zip")
    if official:
        require_official(found)
    if folder is not None:
        check_output(folder, resume=resume, overwrite=overwrite)
        if overwrite and runs:
            remove_predictions(folder, list(found.sequences))

    scores: dict[str, SequenceScore]
    timings: dict[str, Timing] = {}
    facts: dict[str, Any] = {"dataset": str(found.root), "layout": found.layout}
    notes = [*found.notes, *_without_truth(found)]
    with ExitStack() as stack:
        if runs:
            segmenter = segmenter or _make_segmenter(
                model,
                history=history,
                min_dim=min_dim,
                max_dim=max_dim,
                device=device,
                precision=precision,
                matching=matching,
            )
            facts |= _run_facts(segmenter, model, history, limit) | dict(settings or {})
            masks_at = folder
            if official and masks_at is None:
                masks_at = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hodor-evaluate-")))
            run = run_model(
                found,
                segmenter,
                out=masks_at,
                identity=facts | {"device": str(facts["device"]).split(" ")[0]},
                resume=resume,
                limit=limit,
                on_start=on_start,
                progress=progress,
            )
            scores, timings, failed = run.scores, run.timings, run.failed
            notes += _few(run.notes)
            if run.kept:
                notes.append(f"{plural(len(run.kept), 'sequence')} kept from an earlier run: {', '.join(run.kept)}")
            root = None if masks_at is None else masks_at / "predictions"
        else:
            root = Path(str(predictions))
            facts |= {"predictions": str(root)} | dict(settings or {})
            scores, failed = score_predictions(found, root, workers=workers, progress=progress)
        if failed and not scores and not (runs and len(failed) < len(found.sequences)):
            raise DataError(_nothing_left(failed))
        facts |= {"sequences": list(scores), "hodor": hodor_cli.__version__}
        if official and root is not None:
            facts["official"] = run_official(found, root, scores)
        notes += _few([note for score in scores.values() for note in score.notes])
    result = EvaluationResult(
        dataset=found.describe(),
        sequences=scores,
        settings=facts,
        failed=failed,
        timings=timings,
        groups={(n, i): g for n, sequence in found.sequences.items() for i, g in sequence.groups.items()},
        notes=tuple(notes),
    )
    if folder is not None:
        if not found.has_truth and not failed and root is not None:
            result = replace(result, submission=pack_submission(found, root, folder / "submission.zip"))
        places = find_predictions(root, found.sequences) if root is not None and scores else {}
        write_everything(result, found, places, folder)
    return result


def sweep_history(
    dataset: str | Path | Dataset,
    histories: Sequence[int],
    *,
    out: str | Path | None = None,
    sequences: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    **arguments: Any,
) -> list[EvaluationResult]:
    """Evaluate a model once per history length (HODOR, CVPR 2022, fig. 1); other arguments as `evaluate`.

    With `out`, each length has a folder history-N in it, and history.png and report.html draw J&F and frames/s.
    """
    from hodor_cli.evaluation.output import write_sweep

    found = (dataset if isinstance(dataset, Dataset) else recognise(dataset)).select(sequences)
    folder = None if out is None else Path(out)
    if folder is not None:
        check_output(folder, resume=resume, overwrite=overwrite)
    frames = sum(len(sequence) for sequence in found.sequences.values())
    results = []
    for number, history in enumerate(histories):
        place = None if folder is None else folder / f"history-{history}"

        def advance(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number * total + done, len(histories) * total)

        again = place is not None and place.is_dir()
        results.append(
            evaluate(
                found,
                history=history,
                out=place,
                resume=resume and again,
                overwrite=overwrite and again,
                progress=advance if frames else None,
                **arguments,
            )
        )
    if folder is not None and all(result.sequences for result in results):
        write_sweep(results, folder)
    return results


def _make_segmenter(model: Any, **settings: Any) -> StepSegmenter:
    from hodor_cli.engine import Segmenter

    return Segmenter(model, **settings)


def _run_facts(segmenter: Any, model: Any, history: int, limit: int | None) -> dict[str, Any]:
    """Everything that the masks depend on, and the device that the speed does."""
    from hodor_cli.runtime.device import device_name

    facts: dict[str, Any] = {"history": getattr(segmenter, "history", history)}
    for name in ("min_dim", "max_dim", "matching"):
        facts[name] = getattr(segmenter, name, None)
    device = getattr(segmenter, "device", None)
    facts["device"] = None if device is None else device_name(device)
    facts["precision"] = str(getattr(segmenter, "dtype", "")).removeprefix("torch.") or None
    facts["limit"] = limit
    facts["fingerprint"] = None
    if model is not None:
        from hodor_cli.weights.checkpoint import model_fingerprint

        facts["fingerprint"] = model_fingerprint(model)
    return facts


def _without_truth(dataset: Dataset) -> list[str]:
    names = [name for name, sequence in dataset.sequences.items() if not sequence.has_truth]
    if not names or len(names) == len(dataset.sequences):
        return []
    return [f"{plural(len(names), 'sequence')} without truth: {', '.join(names[:5])}{' ...' * (len(names) > 5)}"]


def _nothing_left(failed: Mapping[str, str]) -> str:
    first = next(iter(failed.values()))
    if len(failed) == 1:
        return first
    return f"none of {len(failed)} sequences could be evaluated; the first: {first}"


def _few(notes: Sequence[str], most: int = 20) -> list[str]:
    if len(notes) <= most:
        return list(notes)
    return [*notes[:most], f"and {len(notes) - most} more remarks of this kind"]
