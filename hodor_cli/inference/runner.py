"""Segment a whole source into a result folder: the library door behind `hodor segment`.

    source -> reading thread -> Segmenter.step -> writing thread -> masks/, overlay.mp4, report.json

Memory does not grow with the number of frames: queues are bounded, everything else lies on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import InputError, OutputError, UsageError
from hodor_cli.inference.finish import finish_run, read_summary
from hodor_cli.inference.output import OutputFolder, remove_if_empty, write_json, writing
from hodor_cli.inference.pipeline import ReadAhead, WriteBehind, queue_depth
from hodor_cli.inference.results import PIECE_FRAMES, FrameResult, Redraw, ResultsWriter, SavePoint
from hodor_cli.inference.resume import (
    Checkpoint,
    load_checkpoint,
    read_journal,
    read_run,
    refuse_differences,
    run_identity,
)
from hodor_cli.inference.settings import Box, SegmentSettings, SegmentSummary, StepSegmenter

Labels = NDArray[np.uint16]
OnStep = Callable[[Any, Any, StepSegmenter], Mapping[str, Any] | None]


def segment_source(
    source: Any,
    masks: Mapping[int, Labels],
    out: Path | str,
    *,
    model: Any = None,
    settings: SegmentSettings = SegmentSettings(),
    boxes: Mapping[int, Mapping[int, Box]] | None = None,
    segmenter: StepSegmenter | None = None,
    overwrite: bool = False,
    resume: bool = False,
    coco: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    on_frame: Callable[[Any, Labels], None] | None = None,
    on_step: OnStep | None = None,
    checkpoint_seconds: float = 2.0,
) -> SegmentSummary:
    """Follow the objects of `masks` through a source and write masks, overlay video and report into the folder `out`.

    Args:
        source: An open `hodor_cli.video.FrameSource`.
        masks: Frame index (from 0 in the source) -> label map (H, W), of the source's frame size, value = object id.
        out: The result folder, see `hodor_cli/inference/output.py`.
        model: The network, as `load_model` gives it.
        settings: History, working resolution, device, precision, and whether to draw the overlay.
        boxes: Frame index -> {object id: (x, y, width, height)}: objects that start from a box; GrabCut makes the mask.
        segmenter: Stands in for one made from `model` and `settings`; it must be new or reset.
        overwrite: Replace the results that an earlier run left in `out` (and no other files).
        resume: Go on with an interrupted run of the same inputs and settings; a finished one is left as it is.
        coco: Write annotations.json (COCO run lengths) as well.
        progress: Called after each frame with the frames done and how many there are (None: nobody knows).
        on_frame: Called after each new frame with the frame and its label map.
        on_step: Called after each step with the frame, `segmenter.last` and the segmenter; what it returns (plain JSON
            values) is added to the frame's entry of the report.
        checkpoint_seconds: The most work an interruption loses.

    Returns:
        What was made, which frames to review, and warnings.

    Raises:
        UsageError, InputError: the inputs do not fit; nothing is left in `out`.
        OutputError: `out` exists, cannot be written to, or belongs to another run.
    """
    boxes = boxes or {}
    _check_inputs(source, masks, boxes, overwrite=overwrite, resume=resume)
    folder = OutputFolder(Path(out))
    state = folder.state()
    if state != "new" and not (overwrite or resume):
        what = "results" if state == "finished" else "an unfinished run"
        way = "--resume to go on with it or --overwrite to replace it" if state == "unfinished" else (
            "--overwrite to replace them, or another folder with -o"
        )
        raise OutputError(f"{folder.root} holds {what} already; add {way}")
    if segmenter is None:
        segmenter = _make_segmenter(model, settings)
    fingerprint = _fingerprint(model, segmenter)
    identity = run_identity(source, masks, boxes, settings, fingerprint=fingerprint, coco=coco)
    identity["device"] = {key: str(getattr(segmenter, key)) for key in ("device", "precision") if hasattr(segmenter, key)}

    if resume and state == "finished":
        summary, earlier = read_summary(folder)
        refuse_differences(earlier, identity, folder.root)
        return summary
    earlier_run = read_run(folder.run) if resume else None
    checkpoint = None
    if earlier_run is not None:
        refuse_differences(earlier_run, identity, folder.root)
        checkpoint = load_checkpoint(folder.checkpoint)
    elif state != "new":
        folder.remove_results()
    existed = folder.root.exists()
    with writing(folder.root):
        folder.masks.mkdir(parents=True, exist_ok=True)
        folder.progress.mkdir(exist_ok=True)
        write_json(folder.run, identity)
        if checkpoint is not None:
            folder.forget_after(checkpoint.journal_bytes)

    run = _Run(source, masks, boxes, segmenter, folder, checkpoint, checkpoint_seconds)
    several = len({key for of in boxes.values() for key in of}.union(*(np.unique(m[m > 0]).tolist() for m in masks.values()))) > 1
    try:
        results = ResultsWriter(
            folder, fps=source.fps, overlay=settings.overlay, ids=several, coco=coco, resumed=checkpoint
        )
        run.work(results, progress=progress, on_frame=on_frame, on_step=on_step, redraw=settings.overlay)
        return finish_run(folder, results, source, identity, run.clock, resumed_from=checkpoint.done if checkpoint else 0)
    except BaseException:
        _leave_nothing_half(folder, existed)
        raise


