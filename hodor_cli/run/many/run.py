"""Segment many videos into one folder: the library door behind `hodor segment FOLDER --masks FOLDER`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from hodor_cli.errors import OutputError, UsageError
from hodor_cli.files import write_whole, writing
from hodor_cli.locks import WriterLock
from hodor_cli.run.many.attempts import UNFINISHED, VideoAttempts
from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.many.work import JobResult, WorkOptions

SUMMARY = "summary.json"
_LOCK = ".hodor.lock"


class Executor(Protocol):
    """What runs the jobs: processes of this machine, or a cluster."""

    def results(self, jobs: Sequence[VideoJob], options: WorkOptions) -> Iterator[JobResult | None]:
        """Each job's result as it ends, in any order, and None from time to time."""
        ...


@dataclass(frozen=True)
class BatchProgress:
    """How far it is: videos ended (failed ones among them) of how many, and frames done in this run."""

    videos: int
    failed: int
    total: int
    frames: int


@dataclass(frozen=True)
class BatchSummary:
    """How it ended. `results` are in the order of the jobs; `seconds` is wall time."""

    out: Path
    results: tuple[JobResult, ...]
    seconds: float

    @property
    def failed(self) -> list[JobResult]:
        return [result for result in self.results if result.error]

    @property
    def frames(self) -> int:
        """Frames of the videos that were segmented in this run."""
        return sum(result.frames for result in self.results if not result.already_finished)


def segment_videos(
    jobs: Sequence[VideoJob],
    options: WorkOptions,
    executor: Executor,
    *,
    progress: Callable[[BatchProgress], None] | None = None,
) -> BatchSummary:
    """Segment every video into `OUT/NAME`, side by side; one that fails does not stop the others.

    A video's folder appears when it is whole. OUT/summary.json tells of all. When interrupted, what is done stays, and
    the same call with `resume` goes on.

    Raises:
        UsageError: No jobs, or `resume` and `overwrite` together.
        OutputError: OUT holds results already (and neither was asked for), is being written to by another run, or
            cannot be written to.
    """
    if not jobs:
        raise UsageError("there is no video to segment")
    if options.resume and options.overwrite:
        raise UsageError("--overwrite and --resume contradict each other; give one of them")
    out = options.out
    _refuse_results(out, jobs, options)
    began = time.perf_counter()
    created = not out.exists()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    results: dict[str, JobResult] = {}
    try:
        with WriterLock(out, out / _LOCK, advice="wait until it ends or choose another folder with -o"):
            running = executor.results(jobs, options)
            try:
                for result in running:
                    if result is not None:
                        results[result.name] = result
                    if progress is not None:
                        progress(_progress(jobs, results, out))
            finally:
                close = getattr(running, "close", None)  # an interrupt ends the workers now, not some time later
                if close is not None:
                    close()
            summary = BatchSummary(out, tuple(results[job.name] for job in jobs), time.perf_counter() - began)
            with writing(out):
                write_whole(out / SUMMARY, json.dumps(_as_json(summary), indent=1).encode())
    finally:
        if created and not any(out.iterdir()):
            out.rmdir()
    return summary


def _refuse_results(out: Path, jobs: Sequence[VideoJob], options: WorkOptions) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; choose another folder with -o")
    if options.resume or options.overwrite or not out.exists():
        return
    there = [job.name for job in jobs if (out / job.name).exists()]
    if there or (out / UNFINISHED).exists():
        shown = ", ".join(there[:3]) + (" ..." if len(there) > 3 else "")
        what = f"the results of {shown}" if there else "unfinished ones"
        raise OutputError(f"{out} holds {what} already; add --resume to go on or --overwrite to replace them")


def _progress(jobs: Sequence[VideoJob], results: dict[str, JobResult], out: Path) -> BatchProgress:
    ended = [result for result in results.values() if not result.already_finished]
    folder = out / UNFINISHED
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    running = sum(
        VideoAttempts(out, job.name).frames_done() for job in jobs if job.name in names and job.name not in results
    )
    return BatchProgress(
        videos=len(results),
        failed=sum(bool(result.error) for result in results.values()),
        total=len(jobs),
        frames=running + sum(result.frames for result in ended),
    )


def _as_json(summary: BatchSummary) -> dict[str, Any]:
    videos = {}
    for result in summary.results:
        entry = {key: value for key, value in asdict(result).items() if key != "name"}
        videos[result.name] = {"status": "failed" if result.error else "done", **entry}
    return {
        "format": "hodor-batch",
        "version": 1,
        "seconds": round(summary.seconds, 3),
        "frames": summary.frames,
        "failed": len(summary.failed),
        "videos": videos,
    }
