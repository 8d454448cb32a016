"""Segments many videos into one folder: the library function behind `hodor segment-many`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hodor_cli.errors import HodorError, OutputError, UsageError
from hodor_cli.files import write_whole, writing
from hodor_cli.images.paths import listed
from hodor_cli.locks import locked_folder
from hodor_cli.run.many.attempts import UNFINISHED, VideoAttempts
from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.output import OutputFolder
from hodor_cli.run.settings import RunOutput, SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.model.hodor import Hodor


@dataclass(frozen=True)
class WorkOptions:
    """The options that all videos of a run share.

    settings: As for `segment_source`. If `weights` is a file, it must have the same path on every machine.
    start, end: The frames to read, as for `open_source`.
    export: Formats to which each result is exported (`hodor_cli.run.exporting`).
    resume, overwrite: Whether to continue or to replace the results in `out`.
    """

    out: Path
    settings: SegmentSettings = field(default_factory=SegmentSettings)
    start: int = 0
    end: int | None = None
    export: tuple[str, ...] = ()
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class JobResult:
    """The outcome of one video.

    error: One sentence; empty if there was none. frames: Number of frames in the result. seconds: Duration in this run.
    review: Number of ranges of frames that a person should review. notes: How ambiguous masks were interpreted.
    attempts: How often it was started in this run; more than once if workers died. where: The machine, on a cluster.
    """

    name: str
    error: str = ""
    frames: int = 0
    object_ids: tuple[int, ...] = ()
    seconds: float = 0.0
    review: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    already_finished: bool = False
    attempts: int = 1
    where: str = ""


#: Runs jobs; yields each one's result as it ends, in any order, and None at intervals while none does.
Executor = Callable[[Sequence[VideoJob], WorkOptions], Generator["JobResult | None"]]


@dataclass(frozen=True)
class BatchSummary:
    """The outcome of all videos, in the order of the jobs. seconds: the duration of the run."""

    out: Path
    results: tuple[JobResult, ...]
    seconds: float

    @property
    def failed(self) -> list[JobResult]:
        return [result for result in self.results if result.error]

    @property
    def frames(self) -> int:
        """The frames of videos that were segmented in this run."""
        return sum(result.frames for result in self.results if not result.already_finished)


def segment_videos(
    jobs: Sequence[VideoJob],
    options: WorkOptions,
    executor: Executor,
    *,
    progress: Callable[[int, int, int], None] | None = None,
    ended: Callable[[JobResult, int], None] | None = None,
) -> BatchSummary:
    """Segment every video into `OUT/NAME`, several at a time; one that fails does not stop the others.

    The folder of a video appears when it is complete, and OUT/summary.json has the outcome of all videos. After an
    interruption, the same call with `resume` continues. progress: called with the number of videos that have ended, of
    those that failed, and of frames done in this run. ended: called with each result and the number of videos that have
    ended.

    Raises UsageError without jobs, or for `resume` and `overwrite` together; OutputError if OUT already has results
    (without `resume` or `overwrite`), is being written to by another run, or cannot be written to.
    """
    if not jobs:
        raise UsageError("there is no video to segment")
    if options.resume and options.overwrite:
        raise UsageError("`overwrite` and `resume` contradict each other; give one of them")
    out = options.out
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; choose another folder with `out`")
    there = [job.name for job in jobs if (out / job.name).exists()]
    if not (options.resume or options.overwrite) and (there or (out / UNFINISHED).exists()):
        what = f"the results of {listed(there, 3)}" if there else "unfinished results"
        raise OutputError(f"{out} holds {what}; add `resume` or `overwrite`, or choose another `out`")
    began = time.perf_counter()
    results: dict[str, JobResult] = {}
    with locked_folder(out, advice="wait until it ends, or choose another folder with `out`"):
        running = executor(jobs, options)
        try:
            for result in running:
                if result is not None:
                    results[result.name] = result
                    if ended is not None:
                        ended(result, len(results))
                if progress is not None:
                    frames = sum(VideoAttempts(out, job.name).frames_done() for job in jobs if job.name not in results)
                    frames += sum(one.frames for one in results.values() if not one.already_finished)
                    progress(len(results), sum(bool(one.error) for one in results.values()), frames)
        finally:
            running.close()  # stop the workers now, not when the generator is garbage-collected
        summary = BatchSummary(out, tuple(results[job.name] for job in jobs), time.perf_counter() - began)
        _write_summary(summary)
    return summary


def _write_summary(summary: BatchSummary) -> None:
    facts = {
        "format": "hodor-batch",
        "version": 1,
        "seconds": round(summary.seconds, 3),
        "frames": summary.frames,
        "failed": len(summary.failed),
        "videos": {
            one.name: {"status": "failed" if one.error else "done"}
            | {key: value for key, value in asdict(one).items() if key != "name"}
            for one in summary.results
        },
    }
    with writing(summary.out):
        write_whole(summary.out / "summary.json", json.dumps(facts, indent=1).encode())


def segment_job(job: VideoJob, options: WorkOptions, *, retry: bool = False) -> JobResult:
    """Segment one video into `OUT/NAME`. Errors are returned in the result instead of raised.

    retry: continue the results that a dead worker left.
    """
    began = time.perf_counter()
    try:
        result = _segment(job, options, _network(options.settings.weights), resume=options.resume or retry)
    except HodorError as error:
        result = JobResult(job.name, error=str(error))
    except Exception as error:  # an error in one video must not stop the others
        detail = " ".join(str(error).split())[:300]
        way_out = f"run hodor segment {job.source} alone with HODOR_DEBUG=1"
        result = JobResult(job.name, error=f"unexpected {type(error).__name__}: {detail}; {way_out}")
    return replace(result, seconds=time.perf_counter() - began)


@lru_cache(maxsize=1)
def _network(weights: str) -> Hodor:
    """The network of this process, which it uses for one video after another."""
    from hodor_cli.weights import load_model

    return load_model(weights)


def _segment(job: VideoJob, options: WorkOptions, model: Hodor, *, resume: bool) -> JobResult:
    # Not at the top: a worker process ignores Ctrl-C before it loads PyTorch, which takes seconds.
    from hodor_cli.formats.mask_arguments import read_given
    from hodor_cli.run.exporting import ExportOptions, export_result
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.runner import segment_source
    from hodor_cli.video.source import open_source

    with open_source(job.source, start=options.start, end=options.end) as source:
        given = read_given([str(job.masks)], source)
        inputs = RunInputs(masks=given.masks, names=given.names, notes=given.notes)
        attempts = VideoAttempts(options.out, job.name)
        there = attempts.final.exists() and not options.overwrite
        if options.overwrite:
            OutputFolder(attempts.final).state()  # raises now, and not after the work, if it cannot be replaced
        # Adapting again gives a different network, with which a run cannot be resumed.
        folder = attempts.final if there else attempts.begin(resume=resume and not options.settings.adapt)
        try:
            output = RunOutput(resume=True)
            summary = segment_source(source, inputs, folder, model, settings=options.settings, output=output)
        except HodorError:
            attempts.drop_if_empty(folder)
            raise
        if there:
            attempts.clear()
        else:
            attempts.publish(folder, overwrite=options.overwrite)
    # Keep what an earlier run exported from the same masks.
    exported = OutputFolder(attempts.final).exported() if there else []
    warnings = [text for text in summary.warnings if text not in given.notes]
    if missing := [name for name in options.export if name not in exported]:
        exporting = ExportOptions(overwrite=True, warn=warnings.append, again="run again with `resume`")
        export_result(attempts.final, missing, exporting)
    return JobResult(
        job.name,
        frames=summary.frames,
        object_ids=summary.object_ids,
        review=len(summary.review),
        notes=tuple(given.notes),
        warnings=tuple(warnings),
        already_finished=summary.already_finished,
    )
