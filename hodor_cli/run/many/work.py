"""What one worker does with one video. It never raises for what is wrong with the video: it says it in the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.errors import HodorError
from hodor_cli.run.many.attempts import VideoAttempts
from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.settings import SegmentSettings, SegmentSummary

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor


@dataclass(frozen=True)
class WorkOptions:
    """What is the same for all videos; as the arguments of `segment_source`.

    settings: Where `weights` is a file, its path must be one that every worker can read.
    adapt: Budget of the adaptation to each video's masks (`60s`, `200steps`); None: none.
    """

    out: Path
    settings: SegmentSettings = field(default_factory=SegmentSettings)
    start: int = 0
    end: int | None = None
    coco: bool = False
    adapt: str | None = None
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class JobResult:
    """How one video ended.

    error: One sentence; empty if all went well. frames: how many its results have. seconds: how long it took, here and
    without those of earlier runs. review: how many stretches of frames a person should look at. attempts: how often it
    was begun in this run, because workers died. where: the machine, if it was another one.
    """

    name: str
    error: str = ""
    frames: int = 0
    object_ids: tuple[int, ...] = ()
    seconds: float = 0.0
    review: int = 0
    warnings: tuple[str, ...] = ()
    already_finished: bool = False
    attempts: int = 1
    where: str = ""


def segment_job(job: VideoJob, options: WorkOptions, load: Callable[[], Hodor], *, retry: bool = False) -> JobResult:
    """Segment one video into `OUT/NAME`. `load` gives the network; `retry`: go on with what a dead worker left."""
    began = time.perf_counter()
    try:
        summary = _segment(job, options, load(), resume=options.resume or retry)
    except HodorError as error:
        return JobResult(job.name, error=str(error), seconds=time.perf_counter() - began)
    except Exception as error:  # one video's fault must not end the others
        detail = " ".join(str(error).split())[:300]
        way = f"run hodor segment {job.source} alone with HODOR_DEBUG=1"
        sentence = f"unexpected {type(error).__name__}: {detail}; {way}"
        return JobResult(job.name, error=sentence, seconds=time.perf_counter() - began)
    return JobResult(
        job.name,
        frames=summary.frames,
        object_ids=summary.object_ids,
        seconds=time.perf_counter() - began,
        review=len(summary.review),
        warnings=summary.warnings,
        already_finished=summary.already_finished,
    )


def _segment(job: VideoJob, options: WorkOptions, model: Hodor, *, resume: bool) -> SegmentSummary:
    from hodor_cli.datasets.labels.masks import read_mask_arguments
    from hodor_cli.run.adapting import adapted_to_given
    from hodor_cli.run.runner import segment_source
    from hodor_cli.video.source import open_source

    with open_source(job.source, start=options.start, end=options.end) as source:
        masks = read_mask_arguments([str(job.masks)], source)
        settings = options.settings
        if options.adapt is not None:
            model, settings = adapted_to_given(model, source, masks, {}, options.adapt, settings)
        attempts = VideoAttempts(options.out, job.name)
        there = attempts.final.exists() and not options.overwrite
        # A network adapted anew is another one, with which a run cannot go on.
        folder = attempts.final if there else attempts.begin(resume=resume and options.adapt is None)
        try:
            summary = segment_source(
                source,
                masks,
                folder,
                model=model,
                settings=settings,
                coco=options.coco,
                resume=resume or not there,
            )
        except HodorError:
            attempts.drop_if_empty(folder)
            raise
        if there:
            attempts.clear()
        else:
            attempts.publish(folder, overwrite=options.overwrite)
        return summary
