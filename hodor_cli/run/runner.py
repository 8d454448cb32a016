"""Segments a whole source into a result folder: the library function behind `hodor segment`.

    source -> reading thread -> Segmenter.step -> writing thread -> masks/, overlay.mp4, report.json

Memory does not grow with the number of frames: queues are bounded, and everything else is on disk.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.errors import HodorError, OutputError, UsageError
from hodor_cli.files import put_in_place, write_whole, writing
from hodor_cli.locks import locked_folder
from hodor_cli.run.both_ways import CorrectingSegmenter, Part, able_to_go_back, counting_from, follow_backward
from hodor_cli.run.correcting import Correction, move_masks
from hodor_cli.run.earlier import EarlierRun, corrected_run
from hodor_cli.run.finish import finish_run, read_summary
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.loop import NothingToFollowError, RunJob, RunLoop
from hodor_cli.run.output import OutputFolder, State, read_journal
from hodor_cli.run.records import RunFile, RunIdentity, is_report
from hodor_cli.run.results import Drawing, join_overlay
from hodor_cli.run.resume import (
    RunState,
    damaged,
    differences,
    load_run_state,
    read_run,
    refuse_differences,
    run_identity,
)
from hodor_cli.run.settings import RunHooks, RunOutput, RunSegmenter, SegmentSettings, SegmentSummary
from hodor_cli.video.frames import FrameSource

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor

_ADVICE = "wait until it ends, or choose another folder with `out`"


def segment_source(
    source: FrameSource,
    inputs: RunInputs,
    out: Path | str,
    network: Hodor | RunSegmenter,
    *,
    settings: SegmentSettings | None = None,
    output: RunOutput | None = None,
    hooks: RunHooks | None = None,
) -> SegmentSummary:
    """Follow objects through a source and write masks, overlay video and report into the folder `out`.

        with open_source("clip.mp4") as source:
            inputs = RunInputs(masks={0: read_mask("first.png").labels})
            summary = segment_source(source, inputs, "clip.hodor", load_model("mini"))

    Args:
        source: An open `hodor_cli.video.FrameSource`.
        inputs: The masks, boxes and removals by frame.
        out: The result folder, as `hodor_cli/run/output.py` describes it. It is locked during the run.
        network: The network, as `load_model` returns it; or a segmenter that is new, reset, or started from saved
            descriptors, with its own history, resolution, device and precision.
        settings: History, working resolution, device, precision, and whether to draw the overlay.
        output: Whether to replace or resume the results in `out`.
        hooks: What to call after each frame.

    Returns:
        The files, the frames to review, and warnings.

    Raises:
        UsageError, InputError: The inputs do not fit; nothing is left in `out`.
        OutputError: `out` exists, is being written to, cannot be written to, or belongs to a run with other inputs or
            settings.
    """
    settings, output, hooks = settings or SegmentSettings(), output or RunOutput(), hooks or RunHooks()
    folder = OutputFolder(Path(out))
    state_for(folder, output)
    if output.resume and source.kind == "camera":
        raise UsageError("a camera's frames do not come again, so it cannot be resumed; use `overwrite`")
    ready = hasattr(network, "step")
    segmenter = cast("RunSegmenter", network) if ready else settings.offline(cast("Hodor", network))
    known = tuple(segmenter.object_ids)  # objects started from saved descriptors
    # A correction was interrupted while its masks were moved to their places.
    moving = folder.journal.is_file() and folder.part.journal.is_file() and not is_report(folder.report)
    if output.resume and moving:
        with locked_folder(folder.root, advice=_ADVICE):
            _move(folder)
    earlier, both_ways = None, able_to_go_back(source, segmenter)
    if output.resume and both_ways:
        earlier, inputs = corrected_run(folder, source, inputs, settings, segmenter)
    inputs.check(source, known=known)
    identity = run_identity(source, inputs, settings, segmenter)
    if state_for(folder, output) == "finished" and earlier is None and output.resume and not folder.progress.exists():
        return read_summary(folder, identity)
    job = RunJob(source, inputs, Drawing(settings.overlay, len({*inputs.object_ids, *known}) > 1), output, hooks)
    with locked_folder(folder.root, advice=_ADVICE):
        if earlier is not None:
            return _correct(folder, earlier, job, segmenter, identity)
        checkpoint = _prepare(folder, identity, output)
        if folder.state() == "finished":
            shutil.rmtree(folder.progress, ignore_errors=True)  # killed after the report, before the cleanup
            return read_summary(folder, identity)
        try:
            # The frames of a camera or a pipe come only once, so there a mask is used only from its frame on.
            if both_ways and set(inputs.starts) != {source.start}:
                job = replace(job, hooks=follow_backward(source, inputs, segmenter, folder, hooks))
            run = RunLoop(job, segmenter, folder, checkpoint)
            run.work()
            if settings.overlay:
                join_overlay(folder, source, run.results.pieces(), run.results.first_time or 0.0)
                put_in_place(folder.joined, folder.overlay)
            return finish_run(folder, identity, run.spent, resumed_from=checkpoint.progress.done if checkpoint else 0)
        except BaseException as error:
            begun = folder.checkpoint.exists() or (folder.backward.is_dir() and not isinstance(error, HodorError))
            if not begun or isinstance(error, NothingToFollowError):
                folder.remove_results()
            raise


def _correct(
    folder: OutputFolder, earlier: EarlierRun, job: RunJob, segmenter: RunSegmenter, identity: RunIdentity
) -> SegmentSummary:
    """Correct a finished run. Its result does not change until all corrected frames are written."""
    part = folder.part
    try:
        then = read_run(part.run)
    except OutputError:  # damaged
        then = None
    if part.root.is_dir() and (then is None or differences(then, identity)):
        shutil.rmtree(part.root)  # an unfinished correction with other inputs
    try:
        checkpoint = _prepare(part, identity, RunOutput(resume=True))
        correction = Correction(folder, earlier, job.inputs, job.drawing)
        again = Part(correction.change, earlier, list(correction.frames))
        correcting = CorrectingSegmenter(segmenter, job.source, job.inputs, again, MapFolder(part.backward), job.hooks)
        job = replace(job, hooks=counting_from(correcting.behind, job.hooks))
        run = RunLoop(job, correcting, part, checkpoint, correction.parts, correction.ticks)
        run.work()
        if job.drawing.overlay:
            begin = next(iter(earlier.records.values())).time
            join_overlay(folder, job.source, correction.pieces(run.results.pieces()), begin)
        correction.write_journal()
    except HodorError as error:
        if not isinstance(error, OutputError):  # after a full disk the correction can be resumed
            shutil.rmtree(folder.progress, ignore_errors=True)
        raise
    return _move(folder)


def _move(folder: OutputFolder) -> SegmentSummary:
    """Replace the corrected part of a result and finish the run again."""
    found, checkpoint = read_run(folder.part.run), load_run_state(folder.part.checkpoint)
    if found is None or checkpoint is None:
        raise damaged(folder.part.run)
    identity = RunIdentity(**{name: getattr(found, name) for name in RunIdentity.__struct_fields__})
    kept = sum(1 for _ in read_journal(folder.journal)) - sum(1 for _ in read_journal(folder.part.journal))
    move_masks(folder)
    return finish_run(folder, identity, checkpoint.progress, resumed_from=kept)


def state_for(folder: OutputFolder, output: RunOutput) -> State:
    """The state of a folder before a run. Raises OutputError if it holds results that `output` says nothing about."""
    if output.overwrite and output.resume:
        raise UsageError("`overwrite` and `resume` contradict each other; give one of them")
    state = folder.state()
    if state != "new" and not output.overwrite and not output.resume:
        what = "results" if state == "finished" else "the results of an unfinished run"
        raise OutputError(
            f"{folder.root} holds {what} already; add `resume` to continue or `overwrite` to replace them"
        )
    return state


def _prepare(folder: OutputFolder, identity: RunIdentity, output: RunOutput) -> RunState | None:
    """Prepare the folder for writing frames and return the checkpoint to resume from, if there is one. A finished run
    to be resumed is not changed. Raises OutputError if the folder may not be used."""
    state = state_for(folder, output)
    if state == "finished" and output.resume:
        return None
    checkpoint = interrupted = None
    if output.resume and (interrupted := read_run(folder.run)) is not None:
        refuse_differences(interrupted, identity, folder.root)
        checkpoint = load_run_state(folder.checkpoint)
    with writing(folder.root):
        if checkpoint is not None:
            folder.remove_after(checkpoint.progress.journal_bytes)
            folder.remove_leftovers()
        elif state != "new":
            folder.remove_results(keep_backward=interrupted is not None)
        folder.masks.mkdir(parents=True, exist_ok=True)
        folder.progress.mkdir(exist_ok=True)
        file = RunFile(**{name: getattr(identity, name) for name in RunIdentity.__struct_fields__})
        write_whole(folder.run, msgspec.json.format(msgspec.json.encode(file), indent=1))
    return checkpoint
