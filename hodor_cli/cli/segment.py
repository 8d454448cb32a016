"""`hodor segment`: follow objects through a video from a mask or a box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hodor_cli.cli.common import (
    AdaptOption,
    DeviceOption,
    HistoryOption,
    MatchingOption,
    MaxDimOption,
    MinDimOption,
    PrecisionOption,
    WeightsOption,
)
from hodor_cli.cli.terminal import note, progress_bar, say, warn
from hodor_cli.errors import UsageError

if TYPE_CHECKING:
    from hodor_cli.descriptors.search.segmenting import DescriptorSession
    from hodor_cli.model.hodor import Hodor
    from hodor_cli.run.settings import ReviewItem, SegmentSettings, SegmentSummary
    from hodor_cli.video.source import FrameSource

#: Stretches of frames to review that are listed on the terminal; the report has all.
_SHOWN_REVIEWS = 12


def segment(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of images, or a camera index; with --masks a folder or a list of videos.",
        ),
    ],
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "--mask",
            metavar="[FRAME=]FILE",
            help="Where the objects are in frame FRAME (from 0; the first if left out): a PNG whose values are object "
            "ids, an RGB PNG with one colour per object, an .npy, or a folder of files named like the frames. "
            "Repeatable; a mask for a known id corrects it from there on.",
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box",
            metavar="[FRAME=]x,y,w,h",
            help="A box in pixels instead of a mask; GrabCut finds the object in it and saves the mask to be checked.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", help="Folder for the results [default: NAME.hodor].")
    ] = None,
    weights: WeightsOption = "mini",
    history: HistoryOption = 7,
    min_dim: MinDimOption = None,
    max_dim: MaxDimOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    matching: MatchingOption = True,
    adapt: AdaptOption = None,
    start: Annotated[int, typer.Option("--start", metavar="N", min=0, help="First frame to read, from 0.")] = 0,
    end: Annotated[
        int | None, typer.Option("--end", metavar="N", min=1, help="First frame not to read [default: the end].")
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="FILE.h5#VIDEO/ID",
            help="An object saved in a descriptor file, instead of a mask; FILE.h5#VIDEO takes all of a video's. "
            "Repeatable.",
        ),
    ] = None,
    projection: Annotated[
        Path | None,
        typer.Option(
            "--projection",
            metavar="FILE",
            help="With --from and weights of your own: by what `hodor train-projection` learned for them it is told "
            "whether the object is there.",
        ),
    ] = None,
    descriptors: Annotated[
        Path | None,
        typer.Option("--descriptors", metavar="FILE.h5", help="Also add every object's descriptors to this file."),
    ] = None,
    coco: Annotated[bool, typer.Option("--coco", help="Also write annotations.json (COCO video run lengths).")] = False,
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Write overlay.mp4.")] = True,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            metavar="FOLDER",
            help="Segment every video in the folder SOURCE (or named in SOURCE.txt), side by side: NAME.png here is "
            "the first mask of the video NAME, a folder NAME its masks by frame.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="With --masks: videos at the same time [default: 1]."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", metavar="N", min=1, help="With --masks: on N GPUs of this machine.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS|auto", help="With --masks: on the machines of a Ray cluster."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the results of an earlier run in OUT.")
    ] = False,
) -> None:
    """Follow objects through a video from one mask: every frame's mask, an overlay video and a report.

    hodor segment clip.mp4 --mask first_frame.png
    hodor segment clip.mp4 --mask 0=person.png --mask 120=dog.png
    hodor segment clip.mp4 --box 310,120,200,260
    hodor segment other.mp4 --from objects.h5#clip/1
    hodor segment clips/ --masks first_masks/ --workers 4
    """
    from dataclasses import replace

    from hodor_cli.run.settings import SegmentSettings

    settings = SegmentSettings(
        weights=weights,
        history=history,
        min_dim=min_dim,
        max_dim=max_dim,
        device=device,
        precision=precision,
        matching=matching,
        overlay=overlay,
    )
    if masks is not None:
        _refuse_with_masks(
            {"--mask": mask, "--box": box, "--from": known, "--projection": projection, "--descriptors": descriptors}
        )
        from hodor_cli.cli.segment_many import segment_many
        from hodor_cli.run.many import WorkOptions

        path = Path(source).expanduser()
        name = path.resolve().name if path.is_dir() else path.stem
        options = WorkOptions(
            out=(Path(f"{name}.hodor") if out is None else out).resolve(),
            # Workers elsewhere in the file system, or on other machines, must find it.
            settings=replace(settings, weights=str(Path(weights).resolve()) if Path(weights).is_file() else weights),
            start=start,
            end=end,
            coco=coco,
            adapt=adapt,
            resume=resume,
            overwrite=overwrite,
        )
        raise typer.Exit(segment_many(source, masks, options, workers=workers, gpus=gpus, ray=ray))
    for flag, value in (("--workers", workers), ("--gpus", gpus), ("--ray", ray)):
        if value is not None:
            raise UsageError(f"{flag} is for many videos: give a folder or a list of them, and --masks FOLDER")
    from hodor_cli.datasets.labels.masks import read_mask_arguments
    from hodor_cli.descriptors.search.segmenting import DescriptorSession
    from hodor_cli.errors import HodorError
    from hodor_cli.run.output import OutputFolder
    from hodor_cli.video.source import open_source

    with open_source(source, start=start, end=end) as frames:
        given = read_mask_arguments(mask or [], frames)
        boxes = number_boxes(box or [], frames, {key for one in given.values() for key in one.object_ids})
        _tell_what_was_found(given, boxes)
        folder = Path(f"{frames.name}.hodor") if out is None else out

        from hodor_cli.run.runner import make_segmenter, segment_source
        from hodor_cli.weights import load_model

        model = load_model(weights)
        if adapt is not None:
            model, settings = adapted_to(model, frames, given, boxes, adapt, settings)
        session = DescriptorSession(
            make_segmenter(model, settings),
            frames,
            masks=given,
            known=known or (),
            projection=projection,
            record=descriptors,
        )
        began = False
        try:
            with session, progress_bar(frames.name, frames.length) as advance:
                shown = 0

                def progress(done: int, total: int | None) -> None:
                    nonlocal began, shown
                    began = True
                    advance(done - shown, total=total)
                    shown = done

                summary = segment_source(
                    frames,
                    given,
                    folder,
                    model=model,
                    settings=replace(settings, start_from=session.start_from),
                    boxes=boxes,
                    segmenter=session.segmenter,
                    on_step=session.on_step,
                    overwrite=overwrite,
                    resume=resume,
                    coco=coco,
                    progress=progress,
                )
        except (KeyboardInterrupt, HodorError):
            if began and OutputFolder(folder).checkpoint.exists():
                note(f"What is done is kept in {folder}; the same command with --resume goes on with it.")
            raise
    print_summary(summary)
    _tell_about_descriptors(session, descriptors, folder)


def _refuse_with_masks(others: Mapping[str, Any]) -> None:
    """Raise UsageError for a flag that is about one video, beside --masks."""
    for flag, value in others.items():
        if value:
            way = "run hodor export-descriptors on the results" if flag == "--descriptors" else "give one of them"
            raise UsageError(f"{flag} is for one video and --masks for many; {way}")


def _tell_about_descriptors(session: DescriptorSession, file: Path | None, folder: Path) -> None:
    """Which saved objects do not seem to be in the video, and what was saved."""
    if session.recognition is not None:
        for object_id, (alike, found) in session.recognition.unrecognised().items():
            seen = f"found in {found} frames, alike in {alike} of them" if found else "found in 0 frames"
            note(f"Object {object_id} is probably not in this video: {seen}.")
    if session.recorder is not None and session.recorder.incomplete:
        note(f"The run was resumed, so nothing was added to {file}: hodor export-descriptors {folder} -o {file}")
    elif session.recorder is not None:
        say(f"  {file}  {session.recorder.rows} descriptors added")


def adapted_to(
    model: Hodor,
    source: FrameSource,
    masks: Mapping[int, Any],
    boxes: Mapping[int, Any],
    budget: str,
    settings: SegmentSettings,
) -> tuple[Hodor, SegmentSettings]:
    """The model adapted to the frames whose masks were given, within the budget (`60s`), and the settings to use it."""
    from hodor_cli.run.adapting import adapted_to_given
    from hodor_cli.training.adaptation import AdaptProgress

    with progress_bar("adapting", 100, unit="%") as advance:
        shown = 0

        def progress(state: AdaptProgress) -> None:
            nonlocal shown
            advance(int(100 * state.share) - shown)
            shown = int(100 * state.share)

        return adapted_to_given(model, source, masks, boxes, budget, settings, progress=progress)


def number_boxes(arguments: list[str], source: Any, taken: set[int]) -> dict[int, dict[int, tuple[int, int, int, int]]]:
    """Boxes by frame and object id: each gets the smallest id that nothing else has, in the order given."""
    from hodor_cli.run.box import parse_box

    boxes: dict[int, dict[int, tuple[int, int, int, int]]] = {}
    used = set(taken)
    for argument in arguments:
        parsed = parse_box(argument, source)
        object_id = next(number for number in range(1, len(used) + 2) if number not in used)
        used.add(object_id)
        boxes.setdefault(source.start if parsed.frame is None else parsed.frame, {})[object_id] = parsed.box
    return boxes


def _tell_what_was_found(masks: Mapping[int, Any], boxes: Mapping[int, Mapping[int, Any]]) -> None:
    """Say which objects start where, and how the mask files were understood."""
    for frame, given in list(masks.items())[:10]:
        note(f"Frame {frame}: {_objects(given.object_ids)} from {', '.join(given.files)}")
        for line in given.notes:
            note(f"  {line}")
    if len(masks) > 10:
        note(f"... and masks for {len(masks) - 10} more frames, up to frame {max(masks)}")
    for frame, by_id in boxes.items():
        for object_id, box in by_id.items():
            note(f"Frame {frame}: object {object_id} from the box {','.join(str(side) for side in box)}")


def print_summary(summary: SegmentSummary) -> None:
    """What was made and where, what to look at, and what went wrong."""
    for warning in summary.warnings:
        warn(warning)
    if summary.already_finished:
        say(f"{summary.out} is finished already: {summary.frames} frames, {_objects(summary.object_ids)}.")
    else:
        again = f" ({summary.resumed_from} of them before)" if summary.resumed_from else ""
        speed = f"{summary.frames_per_second:.1f} frames/s"
        say(f"{summary.frames} frames{again}, {_objects(summary.object_ids)}, {speed}.")
    words = {
        "masks": "one PNG per frame, value = object id",
        "overlay": "the video with the objects drawn over it",
        "report": "area, box, confidence per frame and object",
        "annotations": "COCO video run lengths",
        "boxes": "masks made from boxes: check them",
    }
    shown = {key: f"{path}/" if path.is_dir() else str(path) for key, path in summary.files.items()}
    width = max((len(text) for text in shown.values()), default=0)
    for key, text in shown.items():
        say(f"  {text:<{width}}  {words[key]}")
    if not summary.review:
        say("No frame stands out for review.")
        return
    say("Frames to review:")
    for item in summary.review[:_SHOWN_REVIEWS]:
        say(f"  {_review_line(item)}")
    if len(summary.review) > _SHOWN_REVIEWS:
        say(f"  ... and {len(summary.review) - _SHOWN_REVIEWS} more, all in report.json")


def _review_line(item: ReviewItem) -> str:
    names = item.first_name if item.first_frame == item.last_frame else f"{item.first_name} - {item.last_name}"
    return f"{names}: object {item.object_id} {item.reason}" + (f" ({item.detail})" if item.detail else "")


def _objects(ids: Any) -> str:
    ids = list(ids)
    if not ids:
        return "no object"
    shown = ", ".join(str(key) for key in ids[:8]) + (" ..." if len(ids) > 8 else "")
    return f"object {shown}" if len(ids) == 1 else f"{len(ids)} objects ({shown})"
