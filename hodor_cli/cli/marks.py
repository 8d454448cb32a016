"""The options --mask, --box and --click, which several commands share, and the notes on how they were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hodor_cli.cli.options import opt
from hodor_cli.cli.terminal import note
from hodor_cli.errors import UsageError
from hodor_cli.images.paths import listed, plural

if TYPE_CHECKING:
    from hodor_cli.formats.mask_arguments import Given
    from hodor_cli.run.earlier import EarlierRun
    from hodor_cli.run.inputs import RunInputs
    from hodor_cli.video.frames import FrameSource

#: Frames with masks that are named on the terminal.
_SHOWN_MASKS = 10


@dataclass(frozen=True)
class Marks:
    """Masks, boxes and clicks of objects. A parameter `Annotated[Marks, Fields()]` becomes these three options."""

    mask: Annotated[
        list[str] | None,
        opt(
            "[FRAME[:ID]=]FILE",
            "Masks of the objects in frame FRAME (from 0; by default the first): a PNG whose pixel values are object "
            "ids, an RGB PNG with one colour per object, an .npy file, a folder of files named like the frames, or a "
            "LabelMe, CVAT, COCO, YOLO or Label Studio file. Repeatable: every mask is used for the whole video, and "
            "does not affect objects it does not show. FRAME:ID=FILE sets the id of a single object; an empty mask "
            "then means that the object is absent.",
        ),
    ] = None
    box: Annotated[
        list[str] | None,
        opt(
            "[FRAME[:ID]=]x,y,w,h",
            "A box in pixels instead of a mask. A network turns it into a mask, which is saved for you to check. With "
            "the ID of a known object, it corrects that object.",
        ),
    ] = None
    click: Annotated[
        list[str] | None,
        opt(
            "[FRAME[:ID]=][-]x,y",
            "A click on the object, in pixels, instead of a mask; a leading minus marks what is not the object. "
            "Repeatable. Clicks without ID belong to one object: they correct the box or mask in the same frame, or "
            "start a new object.",
        ),
    ] = None

    def __bool__(self) -> bool:
        return bool(self.mask or self.box or self.click)

    @property
    def files(self) -> list[str]:
        """The files and folders of the masks."""
        return [text.rpartition("=")[2] for text in self.mask or ()]

    def read(
        self,
        frames: FrameSource,
        *,
        remove: Sequence[str] | None = None,
        appear: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        alone: bool = True,
        earlier: EarlierRun | None = None,
    ) -> RunInputs:
        """Read the inputs of a run, and print how they were read once all checks have passed.

        remove, appear, names: further options of `hodor segment`. alone: whether the run has no other objects than
        these. earlier: the finished run that they correct. Raises UsageError or InputError.
        """
        from hodor_cli.formats.mask_arguments import read_given
        from hodor_cli.run.exporting import names_of, require_named
        from hodor_cli.run.inputs import RunInputs, ids_and_frames, removals_by_frame
        from hodor_cli.run.prompts import UnclearMarkError, prompts_by_frame, read_boxes, read_clicks
        from hodor_cli.video.image_folder import VIDEO_SUFFIXES

        if videos := [file for file in self.files if Path(file).suffix.lower() in VIDEO_SUFFIXES - {".gif"}]:
            raise UsageError(f"--mask {videos[0]} is a video; give the video first, and its mask after --mask")
        read = read_given(list(self.mask or ()), frames)
        placed, clicked = read_boxes(self.box or (), frames), read_clicks(self.click or (), frames)
        try:
            if earlier is not None:
                placed, clicked = earlier.identified(placed), earlier.identified(clicked)
            boxes, clicks = prompts_by_frame(placed, clicked, read.masks)
        except UnclearMarkError as error:
            raise UsageError(f"{error}, for example {error.example}") from error
        removed = removals_by_frame(remove or (), frames)
        for frame, ids in read.ends.items():
            removed.setdefault(frame, []).extend(ids)
        named, appears = names_of(names or ()), dict(ids_and_frames(appear or (), frames, "appearance"))
        called, notes = {**read.names, **named}, read.notes
        inputs = RunInputs(read.masks, boxes, removed, clicks=clicks, names=called, appears=appears, notes=notes)
        if earlier is not None:
            require_named(named, {*inputs.object_ids, *earlier.report.objects})
        elif alone and inputs.starts:
            require_named(named, inputs.object_ids)
            inputs.check(frames)
        _print_sources(read, inputs)
        if frames.start == 0 and min(inputs.starts, default=0) == 1:
            note("Nothing marks frame 0: 1= means frame 1, and 0:1= means object 1 of frame 0.")
        return inputs


def _print_sources(read: Given, inputs: RunInputs) -> None:
    """Print which files, boxes and clicks the objects come from."""
    for frame, given in list(read.masks.items())[:_SHOWN_MASKS]:
        note(f"Frame {frame}: {objects_named(given.object_ids)} from {', '.join(given.files)}")
        for line in given.notes:
            note(f"  {line}")
    if len(read.masks) > _SHOWN_MASKS:
        more = plural(len(read.masks) - _SHOWN_MASKS, "more frame")
        note(f"... and masks for {more}, up to frame {max(read.masks)}")
    for frame, boxes in inputs.boxes.items():
        for object_id, box in boxes.items():
            note(f"Frame {frame}: object {object_id} from the box {','.join(map(str, box))}")
    for frame, clicks in inputs.clicks.items():
        started = inputs.ids_of(frame, clicks=False)
        for object_id, of_object in clicks.items():
            how = "corrected by" if object_id in started else "from"
            note(f"Frame {frame}: object {object_id} {how} {plural(len(of_object), 'click')}")


def objects_named(ids: Sequence[int]) -> str:
    """The objects in words: "object 1", "3 objects (1, 2, 5)"."""
    if not ids:
        return "no object"
    return f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects ({listed(ids, 8)})"
