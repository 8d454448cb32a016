"""Segments a whole source into a result folder: the library function behind `hodor segment`.

    source -> reading thread -> Segmenter.step -> writing thread -> masks/, overlay.mp4, report.json

Memory does not grow with the number of frames: queues are bounded, and everything else is on disk.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hodor_cli.errors import HodorError, UsageError
from hodor_cli.files import put_in_place
from hodor_cli.locks import locked_folder
from hodor_cli.run.both_ways import able_to_go_back, follow_backward
from hodor_cli.run.correction import correct, finish_correction, is_moving
from hodor_cli.run.earlier import corrected_run
from hodor_cli.run.finish import finish_run, read_summary
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.loop import NothingToFollowError, RunLoop
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.records import RunIdentity
from hodor_cli.run.results import join_overlay
from hodor_cli.run.resume import prepare, run_identity
from hodor_cli.run.settings import RunHooks, RunJob, RunOutput, RunSegmenter, SegmentSettings, SegmentSummary
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
    folder.require(output)
    if output.resume and source.kind == "camera":
        raise UsageError("a camera's frames do not come again, so it cannot be resumed; use `overwrite`")
    ready = hasattr(network, "step")
    segmenter = cast("RunSegmenter", network) if ready else settings.offline(cast("Hodor", network))
    if output.resume and is_moving(folder):
        with locked_folder(folder.root, advice=_ADVICE):
            finish_correction(folder)
    earlier, known = None, tuple(segmenter.object_ids)  # objects started from saved descriptors
    if output.resume and able_to_go_back(source, segmenter):
        earlier, inputs = corrected_run(folder, source, inputs, settings, segmenter)
    inputs.check(source, known=known)
    identity = run_identity(source, inputs, settings, segmenter)
    finished = output.resume and earlier is None and folder.state() == "finished"
    if finished and not folder.progress.exists():
        return read_summary(folder, identity)
    job = RunJob(source, inputs, settings.overlay, len({*inputs.object_ids, *known}) > 1, output, hooks)
    with locked_folder(folder.root, advice=_ADVICE):
        if earlier is not None:
            return correct(folder, earlier, job, segmenter, identity)
        if output.resume and folder.state() == "finished":
            shutil.rmtree(folder.progress, ignore_errors=True)  # killed after the report, before the cleanup
            return read_summary(folder, identity)
        return _segment(folder, job, segmenter, identity)


def _segment(folder: OutputFolder, job: RunJob, segmenter: RunSegmenter, identity: RunIdentity) -> SegmentSummary:
    """Segment the frames that are not done, and write overlay and report. A run that fails early leaves no files."""
    source, checkpoint = job.source, prepare(folder, identity, job.output)
    try:
        # The frames of a camera or a pipe come only once, so there a mask is used only from its frame on.
        if able_to_go_back(source, segmenter) and set(job.inputs.starts) != {source.start}:
            job = replace(job, backward=follow_backward(source, job.inputs, segmenter, folder, job.hooks))
        run = RunLoop(job, segmenter, folder, checkpoint)
        run.work()
        if job.overlay:
            join_overlay(folder, source, run.results.pieces(), run.results.first_time or 0.0)
            put_in_place(folder.joined, folder.overlay)
        return finish_run(folder, identity, run.spent, resumed_from=checkpoint.progress.done if checkpoint else 0)
    except BaseException as error:
        begun = folder.checkpoint.exists() or (folder.backward.is_dir() and not isinstance(error, HodorError))
        if not begun or isinstance(error, NothingToFollowError):
            folder.remove_results()
        raise
