"""`hodor segment`: follow objects through a video from a mask, a box or clicks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hodor_cli.cli import options as common
from hodor_cli.cli.export import NameOption, exports_of, tell_exports
from hodor_cli.cli.options import arg, opt, out_option, switch
from hodor_cli.cli.parameters import RESULTS
from hodor_cli.cli.segment_texts import given_inputs, print_descriptors, print_summary, value_range_of
from hodor_cli.cli.terminal import note, progress_bar, warn
from hodor_cli.errors import HodorError, UsageError
from hodor_cli.files import write_result
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.adaptation.settings import AdaptProgress
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.model.hodor import Hodor
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.output import OutputFolder
    from hodor_cli.run.settings import RunOutput, SegmentSummary
    from hodor_cli.video.frames import FrameSource

_KNOWN = "Objects known from elsewhere"


def segment(
    source: Annotated[str, arg("SOURCE", "A video file, a folder of images, a camera index, or - (a stream).")],
    *,
    mask: common.MaskOption = None,
    box: common.BoxOption = None,
    click: common.ClickOption = None,
    remove: Annotated[list[str] | None, opt("ID=FRAME", "Object ID is absent from frame FRAME on. Repeatable.")] = None,
    appear: Annotated[
        list[str] | None,
        opt(
            "ID=FRAME",
            "Object ID comes into view in frame FRAME, the frame of its first mask, and is not searched before. "
            "Repeatable.",
        ),
    ] = None,
    preview: Annotated[
        bool,
        switch(
            "--preview",
            "Only draw the frame with the first mask and a grid of coordinates into a picture (see `hodor look`).",
        ),
    ] = False,
    out: Annotated[Path | None, out_option("FOLDER", "Folder for the results [default: NAME.hodor].")] = None,
    settings: Annotated[SegmentSettings, common.SEGMENT_FIELDS],
    adapt: common.AdaptOption = None,
    resume: common.ResumeOption = False,
    overwrite: common.OverwriteOption = False,
    start: common.StartOption = 0,
    end: common.EndOption = None,
    value_range: common.ValueRangeOption = None,
    axes: common.AxesOption = None,
    coco: common.CocoOption = False,
    name: NameOption = None,
    export: common.ExportOption = None,
    descriptors: Annotated[
        Path | None, opt("FILE.h5", "Also add every object's descriptors to this file.", rich_help_panel=RESULTS)
    ] = None,
    known: Annotated[
        list[str] | None,
        opt(
            "FILE.h5#VIDEO/ID",
            "Search an object of a descriptor file instead of starting from a mask; the report names frames whose "
            "result differs from it. FILE.h5#VIDEO means all objects of a video. Repeatable.",
            "--from",
            rich_help_panel=_KNOWN,
        ),
    ] = None,
    projection: Annotated[
        Path | None,
        opt(
            "FILE",
            "With --from and your own weights: their projection from `hodor train-projection`, which decides "
            "whether the object is in the video.",
            rich_help_panel=_KNOWN,
        ),
    ] = None,
    masks: Annotated[Path | None, opt("FOLDER", "See `hodor segment-many`.", hidden=True)] = None,
    workers: Annotated[int | None, opt("", "See `hodor segment-many`.", hidden=True)] = None,
    gpus: Annotated[int | None, opt("", "See `hodor segment-many`.", hidden=True)] = None,
    ray: Annotated[str | None, opt("", "See `hodor segment-many`.", hidden=True)] = None,
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
    for_one = {
        "--mask": mask, "--box": box, "--click": click, "--remove": remove, "--from": known,
        "--projection": projection, "--descriptors": descriptors,
    }  # fmt: skip
    _refuse_others(masks, for_one, {"--workers": workers, "--gpus": gpus, "--ray": ray})
    if masks is not None:
        warn("many videos are segmented by `hodor segment-many` now; segment --masks goes in the next version")
        from hodor_cli.cli.segment_many import segment_many

        segment_many(
            source, masks=masks, out=out, settings=settings, adapt=adapt, resume=resume, overwrite=overwrite,
            workers=workers, gpus=gpus, ray=ray, start=start, end=end, export=export, coco=coco,
        )  # fmt: skip
        return
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.run.exporting import ExportOptions, export_result, require_exportable
    from hodor_cli.run.output import OutputFolder
    from hodor_cli.run.runner import state_for
    from hodor_cli.run.settings import RunOutput
    from hodor_cli.video.source import open_source
    from hodor_cli.weights import load_model

    with open_source(source, start=start, end=end, value_range=value_range_of(value_range), axes=axes) as frames:
        exports = exports_of(export, coco)
        folder = Path(f"{frames.name}.hodor") if out is None else out
        run, result = RunOutput(overwrite=overwrite, resume=resume), OutputFolder(folder)
        if not preview:  # refuse before the click network makes a mask
            state_for(result, run)
            require_exportable(folder, exports, overwrite=overwrite or resume)
        inputs = given_inputs(frames, mask, box, click, remove, appear, name)
        if preview:
            from hodor_cli.cli.choosing import show

            show(frames, inputs)
            return
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
        earlier = result.exported()
        summary = _segmented(frames, inputs, result, session, settings, run)
    print_summary(summary)
    if gone := [name for name in earlier if name not in (*result.exported(), *exports)]:
        note(f"The exports of the earlier masks were removed: hodor export {folder} --to {','.join(gone)}")
    if exports:
        options = ExportOptions(overwrite=overwrite or resume, source=source, warn=warn)
        places = export_result(folder, exports, options)
        tell_exports(places)
        if coco:  # scripts that say --coco look for it here
            write_result(result.annotations, (places["coco-video"] / "annotations.json").read_bytes())
    print_descriptors(session, descriptors, folder)


def _segmented(
    frames: FrameSource,
    inputs: RunInputs,
    folder: OutputFolder,
    session: DescriptorSession,
    settings: SegmentSettings,
    output: RunOutput,
) -> SegmentSummary:
    """Run with a progress bar; an interrupted run prints where its results are kept."""
    from hodor_cli.run.runner import segment_source
    from hodor_cli.run.settings import RunHooks

    began = False
    try:
        with session, progress_bar(frames.name, frames.length) as show:

            def progress(done: int, total: int | None) -> None:
                nonlocal began
                began = True
                show(done, total)

            settings = replace(settings, start_from=session.start_from)
            hooks = RunHooks(progress=progress, on_step=session.on_step)
            return segment_source(
                frames, inputs, folder.root, session.segmenter, settings=settings, output=output, hooks=hooks
            )
    except (KeyboardInterrupt, HodorError):
        if began and folder.can_be_continued:
            note(f"Finished frames are kept in {folder.root}; continue with the same command and --resume.")
        raise


def _refuse_others(masks: Path | None, for_one: Mapping[str, Any], for_many: Mapping[str, Any]) -> None:
    """Raise UsageError for an option for one video beside --masks, and for one for many videos without it."""
    for flag, value in for_one.items():
        if masks is not None and value:
            way = "run hodor export-descriptors on the results" if flag == "--descriptors" else "give one of them"
            raise UsageError(f"{flag} is for one video and --masks for many; {way}")
    for flag, value in for_many.items():
        if masks is None and value is not None:
            raise UsageError(f"{flag} is for many videos: hodor segment-many FOLDER --masks FOLDER {flag} {value}")


def adapted_to(
    model: Hodor, source: FrameSource, inputs: RunInputs, budget: str, settings: SegmentSettings
) -> tuple[Hodor, SegmentSettings]:
    """The model adapted to the given masks within the budget (`60s`), and the settings to use it with."""
    from hodor_cli.run.adapting import adapted_to_given

    blends: list[float] = []
    with progress_bar("adapting", 100, "%") as show:

        def progress(state: AdaptProgress) -> None:
            show(int(100 * state.share))
            if state.blend is not None:
                blends.append(state.blend)

        adapted = adapted_to_given(model, source, inputs, budget, settings, progress=progress)
    if blends and blends[-1] == 0:
        note("The objects change so much that a network adapted to the given masks would do worse; it is as it was.")
    return adapted
