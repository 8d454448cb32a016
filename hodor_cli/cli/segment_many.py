"""`hodor segment-many FOLDER|LIST --masks FOLDER`: segment many videos in parallel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hodor_cli.cli import options as common
from hodor_cli.cli.export import formats_of
from hodor_cli.cli.options import arg, opt, out_option
from hodor_cli.cli.parameters import MACHINE, Fields
from hodor_cli.cli.segment_texts import resuming
from hodor_cli.cli.terminal import duration, note, progress_bar, say, warn, with_flags
from hodor_cli.errors import DeviceError, UsageError
from hodor_cli.images.paths import listed, plural
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.run.many.run import BatchSummary, Executor, JobResult, WorkOptions

#: Lines about single videos that are shown; summary.json has all.
_SHOWN = 20


def segment_many(
    source: Annotated[
        str, arg("SOURCE", "A folder of videos (or of folders of images), or a text file that lists them.")
    ],
    *,
    masks: Annotated[
        Path,
        opt(
            "FOLDER",
            "Folder of masks: NAME.png is the first mask of video NAME, or a folder NAME has its masks by frame.",
        ),
    ],
    out: Annotated[Path | None, out_option("FOLDER", "Folder for the results [default: SOURCE.hodor].")] = None,
    settings: Annotated[SegmentSettings, common.SEGMENT_FIELDS],
    adapt: common.AdaptOption = None,
    resume: common.ResumeOption = False,
    overwrite: common.OverwriteOption = False,
    workers: Annotated[int | None, opt("N", "Videos to process at the same time [default: 1].", min=1)] = None,
    gpus: Annotated[int | None, opt("N", "Use N GPUs of this machine.", min=1, rich_help_panel=MACHINE)] = None,
    ray: Annotated[
        str | None, opt("ADDRESS|auto", "Use the machines of a Ray cluster.", rich_help_panel=MACHINE)
    ] = None,
    reading: Annotated[common.Reading, Fields("start", "end")],
    export: common.ExportOption = None,
) -> None:
    """Segment all videos of a folder or list in parallel, from the first masks in another folder.

    hodor segment-many clips/ --masks first_masks/ --workers 4
    hodor segment-many clips.txt --masks first_masks/ --gpus 2
    hodor segment-many clips/ --masks first_masks/ --ray auto

    Exits with code 1 if a video failed; the same command with --resume continues with the rest.
    """
    from hodor_cli.run.many.jobs import find_jobs, folders_left_out, unused_masks
    from hodor_cli.run.many.run import WorkOptions, segment_videos
    from hodor_cli.run.output import default_folder
    from hodor_cli.run.runner import load_network

    path = Path(source).expanduser()
    name = path.resolve().name if path.is_dir() else path.stem
    options = WorkOptions(
        out=out or default_folder(name, path),
        settings=replace(settings, adapt=adapt or ""),
        start=reading.start,
        end=reading.end,
        export=tuple(formats_of(export)),
        resume=resume,
        overwrite=overwrite,
    )
    jobs = find_jobs(path, masks.expanduser())
    if unused := unused_masks(masks.expanduser(), jobs):
        verb = "belongs" if len(unused) == 1 else "belong"
        warn(f"{plural(len(unused), 'mask')} in {masks} {verb} to no video: {listed(unused, 8)}")
    if path.is_dir() and (below := folders_left_out(path, masks.expanduser())):
        some = plural(sum(below.values()), "video")
        warn(f"left out {some} in folders of {path} ({listed(list(below), 4)}); a list can name videos anywhere")
    executor = make_executor(options, workers=workers, gpus=gpus, ray=ray)
    load_network(options.settings, here=ray is None)  # an error common to all videos is raised once
    note(f"{plural(len(jobs), 'video')}, masks from {masks}, results in {options.out}/")
    try:
        with progress_bar("segmenting", len(jobs), unit="videos") as show:

            def progress(videos: int, failed: int, frames: int) -> None:
                show(videos, description=f"{frames} frames" + (f", {failed} failed" if failed else ""))

            def ended(result: JobResult, number: int) -> None:
                how = "failed" if result.error else f"{plural(result.frames, 'frame')} in {duration(result.seconds)}"
                how = "done before" if result.already_finished else how
                note(f"{number} of {plural(len(jobs), 'video')}: {result.name}, {how}")

            # Without a terminal there is no bar to update, and each video is a line of the log.
            bar = sys.stderr.isatty()
            summary = segment_videos(
                jobs, options, executor, progress=progress if bar else None, ended=None if bar else ended
            )
    except KeyboardInterrupt:
        note(f"Finished work is kept in {options.out}; continue with {resuming(options.overwrite)}.")
        raise
    _print_summary(summary, options.export)
    if summary.failed:
        raise typer.Exit(1)


def make_executor(options: WorkOptions, *, workers: int | None, gpus: int | None, ray: str | None) -> Executor:
    """The executor for the videos. Raises UsageError for contradicting options, DeviceError for missing GPUs."""
    if ray is not None:
        from hodor_cli.run.many.on_ray import run_on_ray

        if gpus is not None:
            raise UsageError("--gpus and --ray contradict each other; leave out --gpus: a cluster assigns its own GPUs")
        return partial(run_on_ray, address=ray, at_once=workers)
    from hodor_cli.run.many.local import run_locally

    if gpus is None:
        return partial(run_locally, workers=workers or 1)
    if not options.settings.device.startswith(("auto", "cuda")) or ":" in options.settings.device:
        raise UsageError(f"--gpus and --device {options.settings.device} contradict each other; give one of them")
    if workers is not None and workers < gpus:
        raise UsageError(f"--workers {workers} cannot use --gpus {gpus}; every GPU needs a worker")
    import torch

    available = torch.cuda.device_count()
    if gpus > available:
        raise DeviceError(f"--gpus {gpus} is more than this machine has ({available}); use fewer, or --workers")
    return partial(run_locally, workers=workers or gpus, devices=[f"cuda:{number}" for number in range(gpus)])


def _print_summary(summary: BatchSummary, exports: Sequence[str]) -> None:
    done = [result for result in summary.results if not result.error]
    before = sum(result.already_finished for result in done)
    again = f" ({before} of them before)" if before else ""
    rate = summary.frames / summary.seconds if summary.seconds else 0.0
    videos, frames = plural(len(done), "video"), plural(summary.frames, "frame")
    say(f"{videos} of {len(summary.results)} done{again}, {frames}, {rate:.1f} frames/s.")
    say(f"  {summary.out}/NAME/  masks, overlay, report and review page of each video")
    if exports:
        say(f"  {summary.out}/NAME/export/  {', '.join(exports)}")
    say(f"  {summary.out}/summary.json  the outcome of each video")
    review = [result for result in done if result.review]
    if review:
        names = listed([result.name for result in review], 8)
        say(f"Frames to review in {plural(len(review), 'video')} (open NAME/review.html): {names}")
    _print_lines([(result.name, text) for result in done for text in result.notes], note)
    _print_lines([(result.name, text) for result in done for text in result.warnings], warn)
    if summary.failed:
        say(f"{plural(len(summary.failed), 'video')} failed; fix these and run the same command with --resume:")
        for result in summary.failed[:_SHOWN]:
            say(with_flags(f"  {result.name}: {result.error}"))
        if len(summary.failed) > _SHOWN:
            say(f"  ... and {len(summary.failed) - _SHOWN} more, all in summary.json")


def _print_lines(of_videos: Sequence[tuple[str, str]], print_line: Callable[[str], None]) -> None:
    names: dict[str, list[str]] = {}
    for name, text in of_videos:
        names.setdefault(text, []).append(name)
    for text in list(names)[:_SHOWN]:
        print_line(f"{listed(names[text], 8)}: {text}")
    if len(names) > _SHOWN:
        print_line(f"... and {len(names) - _SHOWN} more, all in the reports")
