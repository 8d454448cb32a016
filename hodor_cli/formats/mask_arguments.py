"""Reads `--mask` arguments: masks, as `datasets.labels.masks` reads them, and files of other tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hodor_cli.datasets.labels.combining import MaskInput
from hodor_cli.datasets.labels.mask_values import MaskFile
from hodor_cli.datasets.labels.masks import frame_of_argument, match_frames, read_masks_and_ends, require_frame
from hodor_cli.errors import InputError
from hodor_cli.formats.annotations import Annotations, Picture
from hodor_cli.formats.numbering import number_together, repeated_name
from hodor_cli.formats.recognise import find_tool
from hodor_cli.images.paths import exists, listed, plural
from hodor_cli.video.frames import FrameSource


@dataclass(frozen=True)
class Given:
    """What mask arguments give: masks by frame, ids that end at a frame, and names of objects."""

    masks: dict[int, MaskInput]
    ends: dict[int, list[int]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)


def read_given(arguments: Sequence[str], source: FrameSource) -> Given:
    """Read arguments `[FRAME[:ID]=]FILE` and folders. FILE may be another tool's annotations of one or many pictures;
    `FILE#NAME` selects one picture.

    A picture of another tool belongs to the frame of the same name. If the file has only one picture, it belongs to
    FRAME, or to the first frame that is read. Raises UsageError and InputError.
    """
    entries: list[tuple[int, MaskInput]] = []
    plain: list[str] = []
    drawn: list[Annotations] = []
    frames_of: list[list[int]] = []
    for argument in arguments:
        if (found := _annotated(argument, source)) is None:
            plain.append(argument)
        else:
            drawn.append(found[0])
            frames_of.append(found[1])
    names: dict[int, str] = {}
    for one, frames in zip(number_together(drawn), frames_of, strict=True):
        if not one.tracked:
            name = next(found for found in map(repeated_name, one.pictures) if found is not None)
            raise InputError(
                f"{one.path} has several objects called '{name}' in one picture, and nothing says which of them is "
                "which in the next; give each a group_id (LabelMe), a track (CVAT), a track_id (COCO), or its own name"
            )
        names = {**one.names, **names}
        notes = _notes(one)
        for frame, picture in zip(frames, one.pictures, strict=True):
            mask = MaskFile(picture.labels, notes)
            if mask.labels.any():
                entries.append((frame, MaskInput.of((str(one.path),), mask)))
                notes = []
    masks, ends = read_masks_and_ends(plain, source, entries)
    return Given(masks, ends, names)


def _annotated(argument: str, source: FrameSource) -> tuple[Annotations, list[int]] | None:
    """The pictures of another tool's file for the frames that are read, and these frames; None for a plain mask."""
    frame, text = frame_of_argument(argument, source)
    path, name = Path(text).expanduser(), ""
    if not exists(path) and "#" in text:
        text, _, name = text.rpartition("#")
        path = Path(text).expanduser()
    found = find_tool(path) if text.strip() and exists(path) else None
    if found is None:
        return None
    one = found.read((source.height, source.width))
    called = [(picture, Path(picture.name)) for picture in one.pictures if picture.shapes]
    pictures = [picture for picture, place in called if name in ("", picture.name, place.name, place.stem)]
    if not pictures:
        raise InputError(
            f"{path} has no picture '{name}' with an object"
            if name
            else f"{path} holds no object to follow: it has no outline, or none with a pixel inside the picture"
        )
    placed = _placed(pictures, frame, path, source)
    size = source.height, source.width
    if (wrong := next((picture for picture, _ in placed if picture.size != size), None)) is not None:
        height, width = wrong.size
        way_out = (
            "the tool did not turn the picture upright, so export it turned"
            if (width, height) == size
            else "annotate pictures of the frames' own size"
        )
        raise InputError(
            f"{path} was drawn on a picture of {width}x{height} pixels but the frames are {size[1]}x{size[0]}: "
            f"{way_out}"
        )
    return replace(one, pictures=[picture for picture, _ in placed]), [index for _, index in placed]


def _placed(pictures: list[Picture], given: int | None, path: Path, source: FrameSource) -> list[tuple[Picture, int]]:
    """The pictures that belong to frames that are read, with these frames."""
    if given is not None:
        if len(pictures) > 1:
            names = listed([picture.name for picture in pictures], 3)
            raise InputError(
                f"{path} has {plural(len(pictures), 'picture')} with objects ({names}); "
                f"say which with {given}={path}#NAME"
            )
        return [(pictures[0], given)]
    of_video = [(picture, picture.frame) for picture in pictures if picture.frame is not None]
    if of_video:
        read = [(picture, frame) for picture, frame in of_video if source.start <= frame and source.has_frame(frame)]
        if not read:
            require_frame(min(frame for _, frame in of_video), str(path), source)
        return read
    stems = {Path(picture.name).stem: picture for picture in pictures}
    named = source.frame_names()
    if len(pictures) == 1:
        index = named.index(next(iter(stems))) if named is not None and next(iter(stems)) in named else source.start
        require_frame(index, str(path), source)
        return [(pictures[0], index)]
    if len(stems) < len(pictures):
        twice = next(picture for picture in pictures if picture is not stems[Path(picture.name).stem])
        raise InputError(
            f"{path} has several pictures called {Path(twice.name).stem}; give one as FRAME={path}#{twice.name}"
        )
    match, frames, _ = match_frames(list(stems), source)
    place = {frame: index for index, frame in enumerate(frames)}
    used = [(stems[name], place[frame]) for name, frame in match.frames.items() if source.has_frame(place[frame])]
    if not used:
        raise InputError(
            f"no picture of {path} belongs to a frame that is read: they are named like {pictures[0].name}; "
            f"give one as FRAME={path}#NAME"
        )
    return used


def _notes(one: Annotations) -> list[str]:
    """Notes for the user: the file's format, its objects' names, and what was changed."""
    called = listed([f"{object_id} {name}" for object_id, name in one.names.items()], 6)
    notes = [f"{one.path} {one.origin}" + (f": {called}" if called else ""), *one.notes]
    drawn = [sum(int(shape.mask(picture.size).sum()) for shape in picture.shapes) for picture in one.pictures]
    count = sum(int((picture.labels > 0).sum()) < area for picture, area in zip(one.pictures, drawn, strict=True))
    if count:
        notes.append(f"objects overlap in {plural(count, 'picture')}; a pixel belongs to the one drawn last")
    return notes
