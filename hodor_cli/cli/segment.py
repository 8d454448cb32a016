"""`hodor segment`: follow objects through a video from a mask, a box or clicks."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hodor_cli.cli import options as common
from hodor_cli.cli.export import NameOption, formats_of, print_exports
from hodor_cli.cli.marks import Marks
from hodor_cli.cli.options import arg, opt, out_option, switch
from hodor_cli.cli.parameters import RESULTS, Fields
from hodor_cli.cli.segment_texts import print_descriptors, print_known, print_summary, resuming
from hodor_cli.cli.terminal import note, progress_bar, warn
from hodor_cli.errors import HodorError, UsageError
from hodor_cli.files import write_result
from hodor_cli.run.settings import SegmentSettings

if TYPE_CHECKING:
    from hodor_cli.descriptors.session.session import DescriptorSession
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.run.output import OutputFolder
    from hodor_cli.run.settings import RunOutput, SegmentSummary
    from hodor_cli.video.frames import FrameSource

_KNOWN = "Objects known from elsewhere"


def segment(
    source: Annotated[str, arg("SOURCE", "A video file, a photo, a folder of images, a camera index, or - (stdin).")],
    *,
    marks: Annotated[Marks, Fields()],
    remove: Annotated[list[str] | None, opt("ID=FRAME", "Object ID is absent from frame FRAME on. Repeatable.")] = None,
    appear: Annotated[
        list[str] | None,
        opt(
            "ID=FRAME",
            "Object ID first appears in frame FRAME, the frame of its first mask, and is not searched for earlier. "
            "Repeatable.",
        ),
    ] = None,
    preview: Annotated[
        bool,
        switch(
            "--preview",
            "Only draw a picture of the frame of the first mask, with a coordinate grid (see `hodor look`).",
        ),
    ] = False,
    out: Annotated[Path | None, out_option("FOLDER", "Folder for the results [default: NAME.hodor].")] = None,
    settings: Annotated[SegmentSettings, common.SEGMENT_FIELDS],
    adapt: common.AdaptOption = None,
    resume: Annotated[
        bool,
        switch(
            "--resume",
            "Continue an interrupted run of the same command, or correct a finished one with more masks, boxes or "
            "clicks.",
        ),
    ] = False,
    overwrite: common.OverwriteOption = False,
    reading: Annotated[common.Reading, Fields()],
    name: NameOption = None,
    export: common.ExportOption = None,
    coco: common.CocoOption = False,
    descriptors: Annotated[
        Path | None, opt("FILE.h5", "Also add every object's descriptors to this file.", rich_help_panel=RESULTS)
    ] = None,
    known: Annotated[
        list[str] | None,
        opt(
            "FILE.h5#VIDEO/ID",
            "Search for an object of a descriptor file instead of starting from --mask, --box or --click; the report "
            "lists frames whose result does not resemble it. FILE.h5#VIDEO means all objects of a video. Repeatable.",
            "--from",
            rich_help_panel=_KNOWN,
        ),
    ] = None,
    projection: Annotated[
        Path | None,
        opt(
            "FILE",
            "With --from and weights of your own: their projection, made by `hodor train-projection`, which decides "
            "whether the object is in the video.",
            rich_help_panel=_KNOWN,
        ),
    ] = None,
) -> None:
    """Follow objects through a video from one mask, and write the mask of every frame, an overlay video and a report.

    hodor segment clip.mp4 --mask first_frame.png
    hodor segment clip.mp4 --mask 0=person.png --mask 120=dog.png
    hodor segment clip.mp4 --box 310,120,200,260 --preview
    hodor segment clip.mp4 --box 310,120,200,260
    hodor segment clip.mp4 --box 310,120,200,260 --click -330,130
    hodor segment clip.mp4 --click 320,200 --click -300,260
    hodor segment other.mp4 --from objects.h5#clip/1

    Many videos: hodor segment-many.
    """
    from hodor_cli.descriptors.session.session import DescriptorRecorder, DescriptorSession
    from hodor_cli.run.earlier import finished_run
    from hodor_cli.run.exporting import ExportOptions, export_result, require_exportable
    from hodor_cli.run.output import OutputFolder, default_folder
    from hodor_cli.run.runner import adapted_to_given, load_network, require_adaptable
    from hodor_cli.run.settings import RunOutput

    if known and marks:
        raise UsageError("--from gives the objects to follow; leave out --mask, --box and --click, or --from")
    if known and adapt is not None:
        raise UsageError("--adapt learns from given masks, and --from gives descriptors instead; leave out one of them")
    with reading.open(source) as frames:
        if preview:
            from hodor_cli.cli.choosing import show

            show(frames, marks.read(frames, remove=remove, appear=appear, names=name))
            if out is not None:
                note(f"--preview does not write to {out}; to name the picture, use hodor look -o FILE")
            return
        folder, formats = out or default_folder(frames.name, source), formats_of(export)
        output, result = RunOutput(overwrite=overwrite, resume=resume), OutputFolder(folder)
        result.require(output, frames.place)  # before the click network makes a mask
        require_exportable(folder, formats, frames, overwrite=overwrite or resume)
        model = load_network(settings)
        if adapt is not None:
            require_adaptable(frames, adapt)
        earlier, alone = finished_run(result) if resume else None, not (resume or known)
        inputs = marks.read(frames, remove=remove, appear=appear, names=name, alone=alone, earlier=earlier)
        if adapt is not None:
            settings = replace(settings, adapt=adapt)
            with progress_bar("adapting", 100, "%") as bar:
                model, settings = adapted_to_given(
                    model, frames, inputs, settings, progress=lambda state: bar(int(100 * state.share))
                )
        session = DescriptorSession(settings.offline(model), known=known or (), projection=projection)
        if descriptors is not None:
            prompts = (inputs.boxes, inputs.clicks, inputs.removals, inputs.appears)
            session.recorder = DescriptorRecorder(
                descriptors, frames, session.segmenter, inputs.masks, prompts=prompts, result=folder,
                start_from=session.start_from,
            )  # fmt: skip
        print_known(session)
        exported = result.exported()
        summary = _segmented(frames, inputs, result, session, settings, output)
    print_summary(summary, printed=inputs.notes)
    if gone := [name for name in exported if name not in (*result.exported(), *formats)]:
        note(f"The exports of the earlier masks were removed: hodor export {folder} --to {','.join(gone)}")
    if formats:
        video = None if frames.place is None else source
        again = f"run hodor export {shlex.quote(str(folder))} --to {','.join(formats)} --overwrite"
        options = ExportOptions(overwrite=overwrite or resume, source=video, warn=warn, again=again)
        places = export_result(folder, formats, options)
        print_exports(places)
        if coco:  # scripts that use --coco expect it here
            write_result(result.annotations, (places["coco-video"] / "annotations.json").read_bytes())
    print_descriptors(session, descriptors, summary)


def _segmented(
    frames: FrameSource,
    inputs: RunInputs,
    result: OutputFolder,
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
                frames, inputs, result.root, session.segmenter, settings=settings, output=output, hooks=hooks
            )
    except (KeyboardInterrupt, HodorError):
        if began and result.can_be_continued:
            note(f"Finished frames are kept in {result.root}; continue with {resuming(output.overwrite)}.")
        raise
