"""Segments a whole source into a result folder: the library function behind `hodor segment`.

    source -> reading thread -> Segmenter.step -> writing thread -> masks/, overlay.mp4, report.json

Memory does not grow with the number of frames: queues are bounded, and everything else is on disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hodor_cli.engine.soft_maps import MapFolder
from hodor_cli.errors import HodorError, OutputError, UsageError
from hodor_cli.files import writing
from hodor_cli.locks import locked_folder
from hodor_cli.run.both_ways import able_to_go_back, follow_backward, goes_both_ways
from hodor_cli.run.correcting import CorrectingSegmenter, EarlierRun, set_aside
from hodor_cli.run.finish import finish_run, read_summary
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.loop import NothingToFollowError, RunLoop
from hodor_cli.run.output import OutputFolder, State
from hodor_cli.run.records import RunIdentity
from hodor_cli.run.results import Drawing, ResultsWriter
from hodor_cli.run.resume import (
    Progressed,
    RunState,
    load_run_state,
    only_given_differs,
    read_run,
    refuse_differences,
    run_identity,
    write_run,
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
    if output.overwrite and output.resume:
        raise UsageError("`overwrite` and `resume` contradict each other; give one of them")
    if output.resume and source.kind == "camera":
        raise UsageError("a camera's frames do not come again, so it cannot be resumed; use `overwrite`")
    ready = hasattr(network, "step")
    segmenter = cast("RunSegmenter", network) if ready else settings.offline(cast("Hodor", network))
    known = tuple(segmenter.object_ids)  # objects started from saved descriptors
    folder = OutputFolder(Path(out))
    earlier = None
    if output.resume and able_to_go_back(source, segmenter):
        earlier, inputs = _earlier(folder, source, inputs, settings, segmenter, output)
    inputs.check(source, known=known)
    identity = run_identity(source, inputs, settings, segmenter)
    if _state(folder, output) == "finished" and earlier is None and output.resume and not folder.progress.exists():
        return _finished(folder, identity)
    with locked_folder(folder.root, advice=_ADVICE):
        if earlier is not None:
            earlier = _aside(folder, identity)
        checkpoint = _prepare(folder, identity, output)
        if folder.state() == "finished":
            shutil.rmtree(folder.progress, ignore_errors=True)  # killed after the report, before the cleanup
            return _finished(folder, identity)
        numbers = len({*inputs.object_ids, *known}) > 1
        drawing = Drawing(overlay=settings.overlay, numbers=numbers)
        try:
            if earlier is not None:
                maps = MapFolder(folder.backward)
                segmenter = CorrectingSegmenter(segmenter, source, inputs, earlier, maps, hooks)
            elif goes_both_ways(source, inputs, segmenter):
                hooks = follow_backward(source, inputs, segmenter, folder, hooks)
            run = RunLoop(source, inputs, segmenter, folder, checkpoint, hooks)
            resumed = checkpoint.progress if checkpoint else Progressed()
            results = ResultsWriter(folder, source, drawing, resumed)
            try:
                run.work(results, output, redraw=settings.overlay)
                return finish_run(folder, results, identity, run, resumed_from=resumed.done)
            except BaseException:
                results.abandon()
                raise
        except BaseException as error:
            begun = folder.checkpoint.exists() or folder.earlier.is_dir()
            begun = begun or (folder.backward.is_dir() and not isinstance(error, HodorError))
            if not begun or (isinstance(error, NothingToFollowError) and earlier is None):
                folder.remove_results()
            raise


def _earlier(
    folder: OutputFolder,
    source: FrameSource,
    inputs: RunInputs,
    settings: SegmentSettings,
    segmenter: RunSegmenter,
    output: RunOutput,
) -> tuple[EarlierRun | None, RunInputs]:
    """The finished run that these inputs correct, or None; and the inputs together with those of that run."""
    finished = folder.state() == "finished"
    if not finished and not (folder.earlier / folder.report.name).exists():
        return None, inputs
    earlier = EarlierRun(folder, aside=not finished)
    if set(earlier.report.clicks).intersection(earlier.report.masks):
        return None, inputs  # the masks before the clicks corrected them are not stored
    joined = earlier.inputs(inputs)
    identity = run_identity(source, joined, settings, segmenter)
    return (earlier, joined) if only_given_differs(earlier.report, identity) else (None, joined)


def _aside(folder: OutputFolder, identity: RunIdentity) -> EarlierRun:
    """Begin or continue a correction: set the earlier run aside and return it."""
    with writing(folder.root):
        if folder.state() == "finished":
            shutil.rmtree(folder.progress, ignore_errors=True)
            folder.earlier.mkdir(parents=True)
            write_run(folder.run, identity)
        if not folder.checkpoint.exists():
            set_aside(folder)
    return EarlierRun(folder, aside=True)


def _state(folder: OutputFolder, output: RunOutput) -> State:
    """The state of the folder. Raises OutputError if it holds results and `output` says nothing about them."""
    state = folder.state()
    if state != "new" and not output.overwrite and not output.resume:
        what = "results" if state == "finished" else "the results of an unfinished run"
        raise OutputError(
            f"{folder.root} holds {what} already; add `resume` to continue or `overwrite` to replace them"
        )
    return state


def _finished(folder: OutputFolder, identity: RunIdentity) -> SegmentSummary:
    """The summary of a finished run. Raises OutputError if its identity differs."""
    summary, earlier = read_summary(folder)
    refuse_differences(earlier, identity, folder.root)
    return summary


def _prepare(folder: OutputFolder, identity: RunIdentity, output: RunOutput) -> RunState | None:
    """Prepare the folder for writing frames and return the checkpoint to resume from, if there is one. A finished run
    to be resumed is not changed. Raises OutputError if the folder may not be used."""
    if _state(folder, output) == "finished" and output.resume:
        return None
    checkpoint = interrupted = None
    if output.resume and (interrupted := read_run(folder.run)) is not None:
        refuse_differences(interrupted, identity, folder.root)
        checkpoint = load_run_state(folder.checkpoint)
    with writing(folder.root):
        if checkpoint is None:
            folder.remove_results(keep_backward=interrupted is not None)
        else:
            folder.remove_after(checkpoint.progress.journal_bytes)
            folder.remove_leftovers()
        folder.masks.mkdir(parents=True, exist_ok=True)
        folder.progress.mkdir(exist_ok=True)
        write_run(folder.run, identity)
    return checkpoint
