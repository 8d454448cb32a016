"""`hodor segment FOLDER|LIST --masks FOLDER`: many videos side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.terminal import note, progress_bar, say
from hodor_cli.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from hodor_cli.run.many import BatchProgress, BatchSummary, WorkOptions
    from hodor_cli.run.many.run import Executor

#: Lines about single videos that are shown; summary.json has all.
_SHOWN = 20


def segment_many(
    source: str, masks: Path, options: WorkOptions, *, workers: int | None, gpus: int | None, ray: str | None
) -> int:
    """Segment every video of a folder or list; returns the command's exit code: 1 if any failed."""
    from hodor_cli.run.many import find_jobs, segment_videos

    jobs = find_jobs(Path(source).expanduser(), masks.expanduser())
    executor = make_executor(options, workers=workers, gpus=gpus, ray=ray)
    _check(options, local=ray is None)
    note(f"{_videos(len(jobs))}, masks from {masks}, results in {options.out}/")
    try:
        with _display(len(jobs)) as show:
            summary = segment_videos(jobs, options, executor, progress=show)
    except KeyboardInterrupt:
        note(f"What is done is kept in {options.out}; the same command with --resume goes on with it.")
        raise
    _print_summary(summary)
    return 1 if summary.failed else 0


def make_executor(options: WorkOptions, *, workers: int | None, gpus: int | None, ray: str | None) -> Executor:
    """What runs the videos. Raises UsageError for flags that contradict each other, DeviceError for GPUs not there."""
    if ray is not None:
        from hodor_cli.run.many.on_ray import RayExecutor

        if gpus is not None:
            raise UsageError("--gpus and --ray contradict each other; a cluster knows its own GPUs")
        return RayExecutor(ray, at_once=workers)
    from hodor_cli.run.many import LocalExecutor

    if gpus is None:
        return LocalExecutor(workers or 1)
    if not options.settings.device.startswith(("auto", "cuda")) or ":" in options.settings.device:
        raise UsageError(f"--gpus and --device {options.settings.device} contradict each other; give one of them")
    if workers is not None and workers < gpus:
        raise UsageError(f"--workers {workers} cannot use --gpus {gpus}; every GPU needs a worker")
    import torch

    there = torch.cuda.device_count()
    if gpus > there:
        raise DeviceError(f"--gpus {gpus}, but this machine has {there}; leave --gpus out or take --workers")
    return LocalExecutor(workers or gpus, [f"cuda:{number}" for number in range(gpus)])


def _check(options: WorkOptions, *, local: bool) -> None:
    """Raise the HodorError for what would be wrong with every video, so that it is told once and nothing is written."""
    from hodor_cli.engine.segmenter import Segmenter
    from hodor_cli.runtime.device import choose_device, choose_precision
    from hodor_cli.training.adaptation import Budget
    from hodor_cli.weights import load_model

    settings = options.settings
    if options.adapt is not None:
        Budget.parse(options.adapt)
    if local:
        choose_precision(settings.precision, choose_device(settings.device))
    Segmenter(load_model(settings.weights), min_dim=settings.min_dim, max_dim=settings.max_dim, device="cpu")


@contextmanager
def _display(total: int) -> Iterator[Any]:
    """One bar for all videos, with frames and failed ones in its description; nothing without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with progress_bar("segmenting", total, unit="videos") as advance:
        shown = 0

        def show(state: BatchProgress) -> None:
            nonlocal shown
            failed = f", {state.failed} failed" if state.failed else ""
            advance(state.videos - shown, description=f"{state.frames} frames{failed}")
            shown = state.videos

        yield show


def _print_summary(summary: BatchSummary) -> None:
    done = [result for result in summary.results if not result.error]
    before = sum(result.already_finished for result in done)
    again = f" ({before} of them before)" if before else ""
    rate = summary.frames / summary.seconds if summary.seconds else 0.0
    say(f"{_videos(len(done))} of {len(summary.results)} done{again}, {summary.frames} frames, {rate:.1f} frames/s.")
    say(f"  {summary.out}/NAME/  masks, overlay and report of each video")
    say(f"  {summary.out}/summary.json  how each of them ended")
    review = [result for result in done if result.review]
    if review:
        say(f"Frames to review in {_videos(len(review))}: {_names([result.name for result in review])}")
    warned = [result.name for result in done if result.warnings]
    if warned:
        say(f"Warnings in the reports of {_names(warned)}")
    if summary.failed:
        say(f"{_videos(len(summary.failed))} failed; mend them and run the same command with --resume:")
        for result in summary.failed[:_SHOWN]:
            say(f"  {result.name}: {result.error}")
        if len(summary.failed) > _SHOWN:
            say(f"  ... and {len(summary.failed) - _SHOWN} more, all in summary.json")


def _names(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"
