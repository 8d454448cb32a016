"""Segment a whole source into a result folder: the library door behind `hodor segment`.

    source -> reading thread -> Segmenter.step -> writing thread -> masks/, overlay.mp4, report.json

Memory does not grow with the number of frames: queues are bounded, everything else lies on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.errors import OutputError, UsageError
from hodor_cli.files import writing
from hodor_cli.run.finish import finish_run, read_summary
from hodor_cli.run.inputs import StartMasks
from hodor_cli.run.loop import NothingToFollowError, OnFrame, OnStep, Progress, RunLoop
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.results import ResultsWriter
from hodor_cli.run.resume import (
    Checkpoint,
    load_checkpoint,
    read_run,
    refuse_differences,
    run_identity,
    write_run,
)
from hodor_cli.run.settings import Box, SegmentSettings, SegmentSummary, StepSegmenter
from hodor_cli.video.source import FrameSource

if TYPE_CHECKING:
    from hodor_cli.engine.segmenter import Segmenter


def segment_source(
    source: FrameSource,
    masks: Mapping[int, Any],
    out: Path | str,
    *,
    model: Any = None,
    settings: SegmentSettings | None = None,
    boxes: Mapping[int, Mapping[int, Box]] | None = None,
    segmenter: StepSegmenter | None = None,
    overwrite: bool = False,
    resume: bool = False,
    coco: bool = False,
    progress: Progress | None = None,
    on_frame: OnFrame | None = None,
    on_step: OnStep | None = None,
    checkpoint_seconds: float = 2.0,
) -> SegmentSummary:
    """Follow the objects of `masks` through a source and write masks, overlay video and report into the folder `out`.

    Args:
        source: An open `hodor_cli.video.FrameSource`.
        masks: Frame index (from 0 in the source) -> label map (H, W) of the frames' size, value = object id; what
            `read_mask_arguments` gives will do as well.
        out: The result folder; `hodor_cli/run/output.py` says what lies where.
        model: The network, as `load_model` gives it.
        settings: History, working resolution, device, precision, and whether to draw the overlay.
        boxes: Frame index -> {object id: (x, y, width, height)}: objects that start from a box; GrabCut makes the mask.
        segmenter: Stands in for one made from `model` and `settings`; new or reset, or started from saved descriptors.
        overwrite: Replace the results that an earlier run left in `out` (and no other files).
        resume: Go on with an interrupted run of the same inputs and settings; a finished one is left as it is.
        coco: Write annotations.json (COCO run lengths) as well.
        progress: Called after each frame with the frames done and how many there are (None: nobody knows).
        on_frame: Called after each new frame with the frame and its label map.
        on_step: Called after each step with the frame, `segmenter.last` and the segmenter; what it returns (plain JSON
            values) is added to the frame's entry in the report, and to the frames to review if it has a `review` list.
        checkpoint_seconds: About how much work an interruption may lose; at most 48 frames in any case.

    Returns:
        What was made, which frames to review, and warnings.

    Raises:
        UsageError, InputError: The inputs do not fit; nothing is left in `out`.
        OutputError: `out` exists, cannot be written to, or belongs to a run with other inputs or settings.
    """
    settings = settings or SegmentSettings()
    if overwrite and resume:
        raise UsageError("--overwrite and --resume contradict each other; give one of them")
    if resume and source.kind == "camera":
        raise UsageError("a camera's frames do not come again, so --resume cannot go on with them; use --overwrite")
    start = StartMasks(masks, boxes or {})
    known = tuple(getattr(segmenter, "object_ids", ()))  # those that it follows from saved descriptors
    start.check(source, known=bool(known))
    folder = OutputFolder(Path(out))
    state = folder.state()
    if state != "new" and not overwrite and not resume:
        what = "results" if state == "finished" else "the results of an unfinished run"
        raise OutputError(f"{folder.root} holds {what} already; add --resume to go on or --overwrite to replace them")
    segmenter = segmenter or make_segmenter(model, settings)
    identity = run_identity(source, start, settings, segmenter, fingerprint=_fingerprint(model), coco=coco)

    if resume and state == "finished":
        summary, earlier = read_summary(folder)
        refuse_differences(earlier, identity, folder.root)
        return summary
    checkpoint = None
    if resume and (interrupted := read_run(folder.run)) is not None:
        refuse_differences(interrupted, identity, folder.root)
        checkpoint = load_checkpoint(folder.checkpoint)
    existed = folder.root.exists()
    try:
        _prepare(folder, identity, checkpoint)
        with writing(folder.root):
            results = ResultsWriter(
                folder,
                source,
                overlay=settings.overlay,
                ids=len({*start.object_ids, *known}) > 1,
                coco=coco,
                resumed=checkpoint,
            )
        run = RunLoop(source, start, segmenter, folder, checkpoint, checkpoint_seconds)
        try:
            run.work(results, progress=progress, on_frame=on_frame, on_step=on_step, redraw=settings.overlay)
            return finish_run(folder, results, identity, run.clock, source, resumed_from=run.resumed_from)
        except BaseException:
            results.abandon()
            raise
    except BaseException as error:
        if not folder.checkpoint.exists() or isinstance(error, NothingToFollowError):
            folder.remove_results()
            if not existed:
                folder.remove_root()
        raise


def make_segmenter(model: Any, settings: SegmentSettings) -> Segmenter:
    """A new segmenter with these settings. Raises UsageError without a model."""
    from hodor_cli.engine import Segmenter

    if model is None:
        raise UsageError("there is no network to segment with; give a model or a segmenter")
    return Segmenter(
        model,
        history=settings.history,
        min_dim=settings.min_dim,
        max_dim=settings.max_dim,
        device=settings.device,
        precision=settings.precision,
        matching=settings.matching,
    )


def _fingerprint(model: Any) -> str:
    """The model's fingerprint; empty for a segmenter that was handed in without one."""
    if model is None:
        return ""
    from hodor_cli.weights.checkpoint import model_fingerprint

    return model_fingerprint(model)


def _prepare(folder: OutputFolder, identity: Mapping[str, Any], checkpoint: Checkpoint | None) -> None:
    """Bring the folder into the state from which frames are written."""
    with writing(folder.root):
        if checkpoint is None:
            folder.remove_results()
        else:
            folder.remove_after(checkpoint.journal_bytes)
            folder.remove_leftovers()
        folder.masks.mkdir(parents=True, exist_ok=True)
        folder.progress.mkdir(exist_ok=True)
        write_run(folder.run, identity)
