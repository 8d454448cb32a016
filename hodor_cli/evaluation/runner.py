"""Evaluates a model or predicted masks on a data set: runs, scores, and writes the results."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hodor_cli
from hodor_cli.adaptation.adapt import adapted
from hodor_cli.adaptation.examples import Example, followed_after
from hodor_cli.datasets.dataset import Dataset, recognise
from hodor_cli.engine.segmenter import Segmenter
from hodor_cli.errors import DataError, UsageError, not_a_network, require_matplotlib
from hodor_cli.evaluation.model_run import MaskFolder, run_model
from hodor_cli.evaluation.output import check_output, pack_submission, write_everything, write_sweep
from hodor_cli.evaluation.predictions import require_official, run_official, score_predictions
from hodor_cli.evaluation.results import EvaluationResult, Scored
from hodor_cli.evaluation.settings import (
    EvaluationOutput,
    EvaluationSettings,
    OnStart,
    Progress,
    Start,
    StepSegmenter,
)
from hodor_cli.formats.opening import mask_folder
from hodor_cli.images.paths import as_path, listed, plural
from hodor_cli.images.picture import read_picture
from hodor_cli.model.hodor import Hodor
from hodor_cli.runtime.device import device_name
from hodor_cli.settings import options_of
from hodor_cli.weights.checkpoint import model_fingerprint

_MOST_NOTES = 20  # of each kind


def evaluate(
    dataset: str | Path | Dataset,
    *,
    model: Hodor | StepSegmenter | None = None,
    predictions: str | Path | None = None,
    settings: EvaluationSettings | None = None,
    output: EvaluationOutput | None = None,
    on_start: OnStart | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Run a model on a data set and score it, or score the masks in `predictions`.

        result = evaluate("DAVIS", model=load_model("mini"), settings=EvaluationSettings(history=4))
        print(result.jf, result.sequences["camel"].objects[1].j)

    Args:
        dataset: The data set's folder, or the result of `recognise`.
        model: The network, as `load_model` returns it, also while it is being trained (it is left as it is); or any
            object with `step` and `reset` as in `StepSegmenter`.
        predictions: Existing masks, SEQ/FRAME.png, or another tool's masks of one sequence, instead of a model.
        settings: Which sequences to evaluate, how the model works, and what is recorded.
        output: Folder for results, report and masks. Without it, only scores are kept, in memory.
        on_start: Called when a sequence's first objects appear; returns the segmenter to continue with. By default, it
            adapts the network if the settings have `adapt`.
        progress: Called with the number of frames done and in total.

    Returns:
        Scores (0..1), timings, remarks, and the sequences that failed, which the scores leave out.

    Raises:
        UsageError: the arguments contradict each other. InputError, DataError: nothing could be evaluated.
        OutputError: the output exists and is neither resumed nor overwritten, or it cannot be written to.
    """
    settings = options_of(EvaluationSettings, settings, "settings")
    found = (dataset if isinstance(dataset, Dataset) else recognise(dataset)).select(settings.sequences)
    if (model is not None) == (predictions is not None):
        raise UsageError("give either `model` or `predictions`: a network to run or a folder of masks")
    if model is not None and not isinstance(model, Hodor | StepSegmenter):
        raise not_a_network(model)
    if not found.has_truth and (output is None or model is None):
        way_out = "give `out` for the masks and the server's zip" if model else "only its server can score masks"
        raise UsageError(f"the truth of {found.root} is not public; {way_out}")
    if settings.official:
        require_official(found)
    facts: dict[str, Any] = {"dataset": str(found.root), "layout": found.layout}
    with ExitStack() as stack:
        if predictions is not None:
            facts["predictions"] = str(predictions)
            folder = as_path(predictions, "`predictions`")
            masks, notes = stack.enter_context(mask_folder(folder))
            if masks != folder and len(found.sequences) > 1:
                raise UsageError(f"{predictions} holds the masks of one video; choose its sequence with `sequences`")
        if output is not None:
            check_output(output)
        if isinstance(model, Hodor) and settings.adapt is not None:
            on_start = on_start or partial(_adapted_to_start, model, settings)
        if model is None:
            run = score_predictions(found, masks, workers=settings.workers, progress=progress)
            run.notes += notes
        else:
            segmenter: StepSegmenter = settings.segmenter(model) if isinstance(model, Hodor) else model
            facts |= _run_facts(segmenter, settings)
            kept = _mask_folder(output, facts, settings, stack)
            run = run_model(found, segmenter, masks=kept, on_start=on_start, progress=progress)
        if run.failed and not run.scores and not run.timings:
            first = next(iter(run.failed.values()))
            many = f"none of {len(run.failed)} sequences could be evaluated; the first: "
            raise DataError((many if len(run.failed) > 1 else "") + first)
        facts |= {"sequences": list(run.scores), "hodor": hodor_cli.__version__}
        if settings.official:
            facts["official"] = run_official(found, run.places, run.scores)
        result = _result(found, run, facts)
        if output is not None:
            if not found.has_truth and not result.failed:
                packed = pack_submission(found, run.places, output.folder / "submission.zip")
                result = replace(result, submission=packed)
            write_everything(result, found, run.places, output.folder)
    return result


def _adapted_to_start(model: Hodor, settings: EvaluationSettings, _: StepSegmenter, start: Start) -> Segmenter:
    """A segmenter adapted to the first masks of a sequence, as `segment` does with `adapt`."""
    after = [read_picture(start.following[n - 1]) for n in followed_after([0], len(start.following) + 1)[0]]
    example = Example.of(start.frame, start.masks, following=after)
    network, settings = adapted(model, [example], settings.adapt or "", settings)
    return settings.segmenter(network)


def _mask_folder(
    output: EvaluationOutput | None, facts: dict[str, Any], settings: EvaluationSettings, stack: ExitStack
) -> MaskFolder | None:
    """The folder for a model's masks: the output; if only the official package needs them, a temporary folder, which
    `stack` removes; otherwise None. facts: what the masks depend on."""
    identity = facts | {"device": str(facts["device"]).split(" ")[0]}
    if output is not None:
        return MaskFolder(output.folder, identity, output.resume)
    if not settings.official:
        return None
    return MaskFolder(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hodor-evaluate-"))), identity)


def _result(found: Dataset, run: Scored, facts: dict[str, Any]) -> EvaluationResult:
    kept = f"{plural(len(run.kept), 'sequence')} kept from an earlier run: {', '.join(run.kept)}"
    names = [name for name, sequence in found.sequences.items() if not sequence.has_truth]
    untrue = f"{plural(len(names), 'sequence')} without truth: {listed(names, 5)}"
    groups = {(n, i): g for n, sequence in found.sequences.items() for i, g in sequence.groups.items()}
    scored = [(name, object_id) for name, score in run.scores.items() for object_id in score.objects]
    without = [f"object {i} of {name}" for name, i in scored if groups and (name, i) not in groups]
    return EvaluationResult(
        dataset=found.describe(),
        sequences=run.scores,
        settings=facts,
        failed=run.failed,
        timings=run.timings,
        groups=groups,
        notes=(
            *found.notes,
            *([untrue] if 0 < len(names) < len(found.sequences) else []),
            *_few(run.notes),
            *([kept] if run.kept else []),
            *([f"meta.json has no category of {listed(without, 8)}; the means leave them out"] if without else []),
            *_few([note for score in run.scores.values() for note in score.notes]),
        ),
    )


def sweep_history(
    dataset: str | Path | Dataset,
    histories: Sequence[int],
    *,
    model: Hodor | StepSegmenter,
    settings: EvaluationSettings | None = None,
    output: EvaluationOutput | None = None,
    progress: Progress | None = None,
) -> list[EvaluationResult]:
    """Evaluate a model once per history length (HODOR, CVPR 2022, fig. 1); arguments and errors as in `evaluate`.

    With an output, each length gets a subfolder history-N, and history.png and report.html plot J&F and frames/s.
    """
    settings = options_of(EvaluationSettings, settings, "settings")
    found = (dataset if isinstance(dataset, Dataset) else recognise(dataset)).select(settings.sequences)
    if output is not None:
        require_matplotlib("a sweep of `history`")
        check_output(output)
    results: list[EvaluationResult] = []

    def advance(done: int, total: int) -> None:
        if progress is not None:
            progress(len(results) * total + done, len(histories) * total)

    for history in histories:
        place = None
        if output is not None:
            folder = output.folder / f"history-{history}"
            there = folder.is_dir()
            place = EvaluationOutput(folder, output.resume and there, output.overwrite and there)
        once = replace(settings, history=history, sequences=None)
        results.append(evaluate(found, model=model, settings=once, output=place, progress=advance))
    if output is not None and all(result.sequences for result in results):
        write_sweep(results, output.folder)
    return results


def _run_facts(segmenter: StepSegmenter, settings: EvaluationSettings) -> dict[str, Any]:
    """Everything that the masks depend on, and the device, on which the speed depends."""
    unknown = dict.fromkeys(("min_dim", "max_dim", "matching", "device", "precision", "fingerprint"))
    facts: dict[str, Any] = {"history": settings.history, **unknown}
    if isinstance(segmenter, Segmenter):
        facts |= {name: getattr(segmenter, name) for name in ("history", "min_dim", "max_dim", "matching")}
        facts |= {"device": device_name(segmenter.device), "precision": str(segmenter.dtype).removeprefix("torch.")}
        facts["fingerprint"] = model_fingerprint(segmenter.model)
    facts |= {} if settings.weights is None else {"weights": settings.weights}
    if settings.adapt is not None:
        # If the user chose no resolution, adaptation chooses one for each video.
        facts |= {"adapt": settings.adapt, "min_dim": settings.min_dim, "max_dim": settings.max_dim}
    return facts


def _few(notes: Sequence[str]) -> list[str]:
    more = len(notes) - _MOST_NOTES
    return [*notes[:_MOST_NOTES], *([f"and {more} more remarks of this kind"] if more > 0 else [])]
