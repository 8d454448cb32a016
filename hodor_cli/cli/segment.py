"""`hodor segment`: follow objects through a video from a mask, a box or clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hodor_cli.cli.export import NameOption, exports_of, tell_exports
from hodor_cli.cli.options import (
    SEGMENT_FIELDS,
    AdaptOption,
    AxesOption,
    BoxOption,
    ClickOption,
    CocoOption,
    EndOption,
    ExportOption,
    MaskOption,
    OverwriteOption,
    ResumeOption,
    StartOption,
    ValueRangeOption,
    out_option,
)
from hodor_cli.cli.parameters import RESULTS
from hodor_cli.cli.terminal import counted, note, progress_to, say, warn
from hodor_cli.errors import HodorError, UsageError
from hodor_cli.files import write_result
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.model.hodor import Hodor
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.records import ReviewItem
    from hodor_cli.run.settings import RunOutput, SegmentSummary
    from hodor_cli.video.frames import FrameSource

#: Stretches of frames to review that are listed on the terminal; the report has all.
_SHOWN_REVIEWS = 12
_SHOWN_MASKS = 10
_KNOWN = "Objects known from elsewhere"


def segment(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A video file, a folder of images, a camera index, or - (a stream)."),
    ],
    *,
    mask: MaskOption = None,
    box: BoxOption = None,
    click: ClickOption = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="ID=FRAME", help="Object ID is absent from frame FRAME on. Repeatable."),
    ] = None,
    appear: Annotated[
        list[str] | None,
        typer.Option(
            "--appear",
            metavar="ID=FRAME",
            help="Object ID comes into view in frame FRAME, the frame of its first mask, and is not searched before. "
            "Repeatable.",
        ),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Only draw the frame with the first mask and a grid of coordinates into a picture (see `hodor look`).",
        ),
    ] = False,
    out: Annotated[Path | None, out_option("FOLDER", "Folder for the results [default: NAME.hodor].")] = None,
    settings: Annotated[SegmentSettings, SEGMENT_FIELDS],
    adapt: AdaptOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    start: StartOption = 0,
    end: EndOption = None,
    value_range: ValueRangeOption = None,
    axes: AxesOption = None,
    coco: CocoOption = False,
    name: NameOption = None,
    export: ExportOption = None,
    descriptors: Annotated[
        Path | None,
        typer.Option(
            "--descriptors",
            metavar="FILE.h5",
            help="Also add every object's descriptors to this file.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="FILE.h5#VIDEO/ID",
            help="Search an object of a descriptor file instead of starting from a mask; the report names frames whose "
            "result differs from it. FILE.h5#VIDEO means all objects of a video. Repeatable.",
            rich_help_panel=_KNOWN,
        ),
    ] = None,
    projection: Annotated[
        Path | None,
        typer.Option(
            "--projection",
            metavar="FILE",
            help="With --from and your own weights: their projection from `hodor train-projection`, which decides "
            "whether the object is in the video.",
            rich_help_panel=_KNOWN,
        ),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option("--masks", metavar="FOLDER", hidden=True, help="See `hodor segment-many`.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", hidden=True, help="See `hodor segment-many`.")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", hidden=True, help="See `hodor segment-many`.")] = None,
    ray: Annotated[str | None, typer.Option("--ray", hidden=True, help="See `hodor segment-many`.")] = None,
) -> None:
    """Follow objects through a video from one mask: every frame's mask, an overlay video and a report.

    hodor segment clip.mp4 --mask first_frame.png
    hodor segment clip.mp4 --mask 0=person.png --mask 120=dog.png
    hodor segment clip.mp4 --box 310,120,200,260 --preview
    hodor segment clip.mp4 --box 310,120,200,260
    hodor segment clip.mp4 --click 320,200 --click -300,260
    hodor segment other.mp4 --from objects.h5#clip/1

    Many videos: hodor segment-many.
    """
    if masks is not None:
        _refuse_with_masks(
            {"--mask": mask, "--box": box, "--click": click, "--remove": remove, "--from": known,
             "--projection": projection, "--descriptors": descriptors}
        )  # fmt: skip
        warn("many videos are segmented by `hodor segment-many` now; segment --masks goes in the next version")
        from hodor_cli.cli.segment_many import segment_many

        segment_many(
            source, masks=masks, out=out, settings=settings, adapt=adapt, resume=resume, overwrite=overwrite,
            workers=workers, gpus=gpus, ray=ray, start=start, end=end, export=export, coco=coco,
        )  # fmt: skip
        return
    _refuse_without_masks({"--workers": workers, "--gpus": gpus, "--ray": ray})
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.run.exporting import ExportOptions, export_result, require_exportable
    from hodor_cli.run.inputs import appearances_by_id
    from hodor_cli.run.output import OutputFolder
    from hodor_cli.run.settings import RunOutput
    from hodor_cli.video.source import open_source

    with open_source(source, start=start, end=end, value_range=value_range_of(value_range), axes=axes) as frames:
        given = given_inputs(frames, mask or [], box or [], remove or [], click or [], name or [])
        inputs = replace(given, appears=appearances_by_id(appear or [], frames))
        folder = Path(f"{frames.name}.hodor") if out is None else out
        if preview:
            from hodor_cli.cli.look import show

            show(frames, inputs)
            return
        exports = exports_of(export, coco)
        require_exportable(folder, exports, overwrite=overwrite or resume)

        from hodor_cli.weights import load_model

        model = load_model(settings.weights)
        if adapt is not None:
            model, settings = adapted_to(model, frames, inputs, adapt, settings)
        session = DescriptorSession(
            settings.offline(model),
            frames,
            masks=inputs.masks,
            known=known or (),
            projection=projection,
            record=descriptors,
            result=folder,
        )
        run = RunOutput(overwrite=overwrite, resume=resume)
        earlier = OutputFolder(folder).exported()
        summary = _segmented(frames, inputs, folder, session, settings, run)
    print_summary(summary)
    _tell_removed_exports(folder, earlier, exports)
    if exports:
        options = ExportOptions(overwrite=overwrite or resume, source=source, warn=warn)
        places = export_result(folder, exports, options)
        tell_exports(places)
        if coco:
            _copy_annotations(folder, places["coco-video"])
    _tell_about_descriptors(session, descriptors, folder)


def _segmented(
    frames: FrameSource,
    inputs: RunInputs,
    folder: Path,
    session: DescriptorSession,
    settings: SegmentSettings,
    output: RunOutput,
) -> SegmentSummary:
    """Run with a progress bar; an interrupted run prints where its results are kept."""
    from hodor_cli.run.output import OutputFolder
    from hodor_cli.run.runner import segment_source
    from hodor_cli.run.settings import RunHooks

    began = False
    try:
        with session, progress_to(frames.name, frames.length) as show:

            def progress(done: int, total: int | None) -> None:
                nonlocal began
                began = True
                show(done, total)

            return segment_source(
                frames,
                inputs,
                folder,
                session.segmenter,
                settings=replace(settings, start_from=session.start_from),
                output=output,
                hooks=RunHooks(progress=progress, on_step=session.on_step),
            )
    except (KeyboardInterrupt, HodorError):
        if began and OutputFolder(folder).can_be_continued:
            note(f"Finished frames are kept in {folder}; continue with the same command and --resume.")
        raise


def value_range_of(text: str | None) -> tuple[float, float] | None:
    """The two numbers of --value-range."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--value-range {text} is not two numbers LOW,HIGH, for example 0,1023") from None
    return low, high


def _refuse_with_masks(others: Mapping[str, Any]) -> None:
    """Raise UsageError for an option for one video beside --masks."""
    for flag, value in others.items():
        if value:
            way = "run hodor export-descriptors on the results" if flag == "--descriptors" else "give one of them"
            raise UsageError(f"{flag} is for one video and --masks for many; {way}")


def _refuse_without_masks(options: Mapping[str, Any]) -> None:
    """Raise UsageError for an option for many videos without --masks."""
    for flag, value in options.items():
        if value is not None:
            raise UsageError(f"{flag} is for many videos: hodor segment-many FOLDER --masks FOLDER {flag} {value}")


def _copy_annotations(folder: Path, export: Path) -> None:
    """Put annotations.json also where scripts that say --coco look for it."""
    from hodor_cli.run.output import OutputFolder

    write_result(OutputFolder(folder).annotations, (export / "annotations.json").read_bytes())


def _tell_removed_exports(folder: Path, earlier: Sequence[str], exports: Sequence[str]) -> None:
    """Print which exports of the `earlier` ones are gone, and how to make those again that are not made now."""
    from hodor_cli.run.output import OutputFolder

    gone = [name for name in earlier if name not in (*OutputFolder(folder).exported(), *exports)]
    if gone:
        note(f"The exports of the earlier masks were removed: hodor export {folder} --to {','.join(gone)}")


def _tell_about_descriptors(session: DescriptorSession, file: Path | None, folder: Path) -> None:
    """Print which saved objects are probably not in the video, and how many descriptors were added."""
    if session.recognition is not None:
        for object_id, (alike, found) in session.recognition.unrecognised().items():
            seen = f"found in {counted(found, 'frame')}" + (f", alike in {alike} of them" if found else "")
            note(f"Object {object_id} is probably not in this video: {seen}.")
    if session.recorder is not None and session.recorder.incomplete:
        note(f"The run was resumed, so nothing was added to {file}: hodor export-descriptors {folder} -o {file}")
    elif session.recorder is not None:
        say(f"  {file}  {counted(session.recorder.rows, 'descriptor')} added")


def adapted_to(
    model: Hodor, source: FrameSource, inputs: RunInputs, budget: str, settings: SegmentSettings
) -> tuple[Hodor, SegmentSettings]:
    """The model adapted to the given masks within the budget (`60s`), and the settings to use it with."""
    from hodor_cli.run.adapting import adapted_to_given
    from hodor_cli.training.adapt_settings import AdaptProgress

    with progress_to("adapting", 100, "%") as show:

        def progress(state: AdaptProgress) -> None:
            show(int(100 * state.share), 100)

        return adapted_to_given(model, source, inputs, budget, settings, progress=progress)


def given_inputs(
    frames: FrameSource,
    masks: list[str],
    boxes: list[str],
    removals: list[str],
    clicks: Sequence[str] = (),
    names: Sequence[str] = (),
) -> RunInputs:
    """The inputs of a run from the arguments; prints how they were read."""
    from hodor_cli.formats.mask_arguments import read_given
    from hodor_cli.run.box import boxes_by_frame
    from hodor_cli.run.clicks import clicks_by_frame
    from hodor_cli.run.exporting import names_of
    from hodor_cli.run.inputs import RunInputs, removals_by_frame

    read = read_given(masks, frames)
    given = read.masks
    boxed = boxes_by_frame(boxes, frames, {key for one in given.values() for key in one.object_ids})
    taken = {key for one in given.values() for key in one.object_ids} | {key for of in boxed.values() for key in of}
    clicked = clicks_by_frame(clicks, frames, taken)
    removed = removals_by_frame(removals, frames)
    for frame, ids in read.ends.items():
        removed.setdefault(frame, []).extend(ids)
    _tell_what_was_found(given, boxed)
    for frame, by_id in clicked.items():
        for object_id, of_object in by_id.items():
            note(f"Frame {frame}: object {object_id} from {counted(len(of_object), 'click')}")
    return RunInputs(given, boxed, removed, clicks=clicked, names={**read.names, **names_of(names)})


def _tell_what_was_found(masks: Mapping[int, Any], boxes: Mapping[int, Mapping[int, Any]]) -> None:
    """Print which objects start where, and how the mask files were read."""
    for frame, given in list(masks.items())[:_SHOWN_MASKS]:
        note(f"Frame {frame}: {_objects(given.object_ids)} from {', '.join(given.files)}")
        for line in given.notes:
            note(f"  {line}")
    if len(masks) > _SHOWN_MASKS:
        more = counted(len(masks) - _SHOWN_MASKS, "more frame")
        note(f"... and masks for {more}, up to frame {max(masks)}")
    for frame, by_id in boxes.items():
        for object_id, box in by_id.items():
            note(f"Frame {frame}: object {object_id} from the box {','.join(str(side) for side in box)}")


def print_summary(summary: SegmentSummary) -> None:
    """Print the files, the frames to review, and warnings."""
    for warning in summary.warnings:
        warn(warning)
    frames, objects = counted(summary.frames, "frame"), _objects(summary.object_ids)
    if summary.already_finished:
        say(f"{summary.out} is finished already: {frames}, {objects}.")
    else:
        again = f" ({summary.resumed_from} of them before)" if summary.resumed_from else ""
        say(f"{frames}{again}, {objects}, {summary.frames_per_second:.1f} frames/s.")
    words = {
        "masks": "one PNG per frame, value = object id",
        "overlay": "the video with the objects drawn over it",
        "review": "the frames to review, objects over time: open it",
        "report": "area, box, confidence per frame and object",
        "boxes": "masks made from boxes and clicks: check them",
    }
    shown = {key: f"{path}/" if path.is_dir() else str(path) for key, path in summary.files.items()}
    width = max((len(text) for text in shown.values()), default=0)
    for key, text in shown.items():
        say(f"  {text:<{width}}  {words.get(key, key)}")
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
