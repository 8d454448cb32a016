"""Reads `--mask` arguments: masks, folders of masks, and other tools' annotations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os.path import exists
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hodor_cli.datasets.labels.combining import PackedMask, combine_masks
from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.matching import match_frames, match_mask_folder, require_frame
from hodor_cli.errors import InputError, UsageError
from hodor_cli.formats.annotations import Annotations, Picture
from hodor_cli.formats.numbering import number_together, repeated_name
from hodor_cli.formats.recognise import Found, find_tool
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.paths import listed, plural, require_exists, size_text
from hodor_cli.images.picture import PICTURE_SUFFIXES
from hodor_cli.video.frames import FrameSource

#: Number of masks whose notes are all shown.
_NOTED = 10
_FRAME = re.compile(r"\s*([+-]?\d+)(?::(\d+))?=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Given:
    """The result of reading mask arguments. masks: by frame, ascending. ends: frame -> ids of the objects that end
    there, because FRAME:ID=FILE is an empty mask. names: object id -> class."""

    masks: dict[int, PackedMask]
    ends: dict[int, list[int]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about how the masks were interpreted, for the first few masks that have any."""
        noted = [one.notes for one in self.masks.values() if one.notes]
        more = len(noted) - _NOTED
        rest = [f"there are similar notes about {plural(more, 'more mask')}"] if more > 0 else []
        return [*dict.fromkeys(note for notes in noted[:_NOTED] for note in notes), *rest]


def read_given(arguments: Sequence[str], source: FrameSource) -> Given:
    """Read arguments `[FRAME[:ID]=]FILE`, and folders whose files are named like the source's frames.

    Without FRAME, a mask belongs to the first frame that is read. FILE may also be another tool's annotations of one or
    more pictures; `FILE#NAME` selects one picture. A picture belongs to the frame of the same name. A single picture
    belongs to FRAME if that is given, and to the first frame that is read if no frame has its name.

    Raises UsageError for an impossible FRAME or ID; InputError if FRAME is past the end, if a file is invalid, or if
    `combine_masks` raises it.
    """
    drawn: list[tuple[Annotations, list[int]]] = []
    entries: list[tuple[int, PackedMask]] = []
    ends: dict[int, list[int]] = {}
    known: dict[int, Colour] = {}
    for argument in (_parsed(text, source) for text in arguments):
        if argument.object_id is not None:
            mask = _named_object(argument, argument.object_id, source)
            if mask.object_ids:
                entries.append((argument.frame, mask))
            else:
                ends.setdefault(argument.frame, []).append(argument.object_id)
        elif (found := find_tool(argument.path)) is not None:
            drawn.append(_annotated(argument, found, source))
        else:
            entries += _masks(argument, source, known)
    of_tools, names = _numbered(drawn)
    return Given(combine_masks([*of_tools, *entries]), ends, names)


class _Argument(NamedTuple):
    """A parsed argument `[FRAME[:ID]=]PATH[#PICTURE]`. stated: whether it has FRAME; otherwise `frame` is the first one
    that is read."""

    text: str
    stated: bool
    frame: int
    object_id: int | None
    path: Path
    picture: str


def _parsed(text: str, source: FrameSource) -> _Argument:
    if not text.strip() or text.rstrip().endswith("="):
        raise UsageError(f"the mask {text!r} names no file; give [FRAME=]FILE or a folder of masks")
    found = None if exists(Path(text).expanduser()) else _FRAME.fullmatch(text)  # a file may be called 5=a.png
    frame, rest = (int(found[1]), found[3]) if found else (source.start, text)
    object_id = int(found[2]) if found and found[2] else None
    if frame < 0:
        raise UsageError(f"FRAME is {frame} in {text!r}, but frames count from 0 ([FRAME=]FILE)")
    if object_id is not None and not 1 <= object_id <= MAX_ID:
        raise UsageError(f"the id in {text!r} must be between 1 and {MAX_ID}")
    if found:
        require_frame(frame, text, source)
    path, picture = Path(rest).expanduser(), ""
    before, sign, after = text.partition("=")
    if not found and sign and not exists(path) and exists(Path(after).expanduser()):
        raise UsageError(f"FRAME is {before!r} in {text!r}, but it must be a number (frames count from 0)")
    whole, _, name = rest.rpartition("#")
    file = Path(whole).expanduser()
    if whole and not exists(path) and exists(file) and find_tool(file):
        path, picture = file, name
    require_exists(path, "mask")
    return _Argument(text, found is not None, frame, object_id, path, picture)


def _named_object(argument: _Argument, object_id: int, source: FrameSource) -> PackedMask:
    """Read the mask of FRAME:ID=FILE, which may be empty. Raises InputError if it has several objects."""
    path = argument.path
    mask = read_mask(path, size=(source.height, source.width), allow_empty=True)
    if len(mask.object_ids) > 1:
        raise InputError(
            f"{path} holds {len(mask.object_ids)} objects; give a mask of one, or {argument.frame}={path} for all"
        )
    labels = np.where(mask.labels > 0, object_id, 0).astype(np.uint16)
    # The notes say that the object has id 1; here it gets another id.
    notes = [] if mask.colours else [note.replace("with id 1", f"with id {object_id}") for note in mask.notes]
    return PackedMask(labels, (str(path),), notes, named=True)


def _masks(argument: _Argument, source: FrameSource, known: dict[int, Colour]) -> Iterator[tuple[int, PackedMask]]:
    """Yield the mask of each frame. known: collects the colours of RGB masks, so that a colour stays one object."""
    path = argument.path
    if path.is_dir():
        if argument.stated:
            raise UsageError(f"{argument.text!r} is a folder of files named like frames; drop {argument.frame}=")
        files, notes = match_mask_folder(path, source)
    else:
        files, notes = {argument.frame: path}, []
    found = has_void = False
    for index, file in files.items():
        mask = read_mask(file, size=(source.height, source.width), known_colours=known, allow_empty=path.is_dir())
        known.update(mask.colours or {})
        has_void = has_void or mask.void is not None
        if not mask.labels.any() or (mask.white and has_void):
            continue  # an empty mask, or one with only void
        mask.notes[:0] = [] if found else notes
        found = True
        yield index, PackedMask(mask.labels, (str(file),), mask.notes, mask.colours)
    if not found:
        raise InputError(f"the masks in {path} hold no object: every pixel in all {len(files)} is background")


def _annotated(argument: _Argument, found: Found, source: FrameSource) -> tuple[Annotations, list[int]]:
    """Read another tool's pictures for the frames that are read; returns them and their frame indices."""
    path, name, size = argument.path, argument.picture, (source.height, source.width)
    one = found.read(size)
    called = [(picture, Path(picture.name)) for picture in one.pictures if picture.shapes]
    pictures = [picture for picture, place in called if name in ("", picture.name, place.name, place.stem)]
    if not pictures:
        raise InputError(
            f"{path} has no picture '{name}' with an object"
            if name
            else f"{path} holds no object to follow: it has no outline, or none with a pixel inside the picture"
        )
    if one.video and pictures[0].frame is None and not (name or argument.stated):
        pictures = list(one.pictures)  # the names of all frames say more clearly which frames they are
    placed = _placed(pictures, argument.frame if argument.stated else None, path, source)
    placed = [(picture, frame) for picture, frame in placed if picture.shapes]
    if not placed:
        raise InputError(f"no object in {path} is in a frame that is read; read more frames with `start` and `end`")
    if (wrong := next((picture for picture, _ in placed if picture.size != size), None)) is not None:
        way_out = (
            "the tool did not turn the picture upright, so save an upright picture and annotate that"
            if wrong.size[::-1] == size
            else "annotate pictures of the same size as the frames"
        )
        sizes = f"on a picture of {size_text(wrong.size)} pixels but the frames are {size_text(size)}"
        raise InputError(f"{path} was drawn {sizes}: {way_out}")
    used = {id(picture) for picture, _ in placed}
    if unread := [picture.name for picture in pictures if picture.shapes and id(picture) not in used]:
        outside = f"{path}: {len(unread)} not used, because their frames are not read, such as {unread[0]}"
        one = replace(one, notes=(*one.notes, outside))
    return replace(one, pictures=[picture for picture, _ in placed]), [index for _, index in placed]


def _numbered(drawn: list[tuple[Annotations, list[int]]]) -> tuple[list[tuple[int, PackedMask]], dict[int, str]]:
    """Number the objects of all tools' files together; returns their masks by frame, and object id -> class."""
    entries: list[tuple[int, PackedMask]] = []
    names: dict[int, str] = {}
    for one, (_, frames) in zip(number_together([one for one, _ in drawn]), drawn, strict=True):
        if not one.tracked:
            name = next(found for found in map(repeated_name, one.pictures) if found is not None)
            raise InputError(
                f"{one.path} has several objects called '{name}'; give each a group_id, track, track_id or its own name"
            )
        names = {**one.names, **names}
        notes = _notes(one)
        for frame, picture in zip(frames, one.pictures, strict=True):
            if picture.labels.any():
                entries.append((frame, PackedMask(picture.labels, (str(one.path),), notes)))
                notes = []
    return entries, names


def _placed(pictures: list[Picture], given: int | None, path: Path, source: FrameSource) -> list[tuple[Picture, int]]:
    """The pictures that belong to frames that are read, with these frames. given: the argument's FRAME, if any."""
    if given is not None:
        if len(pictures) > 1:
            names = listed([picture.name for picture in pictures], 3)
            raise InputError(f"{path} has {len(pictures)} pictures with objects ({names}); give {given}={path}#NAME")
        return [(pictures[0], given)]
    of_video = [(picture, picture.frame) for picture in pictures if picture.frame is not None]
    if of_video:
        read = [(picture, frame) for picture, frame in of_video if source.start <= frame and source.has_frame(frame)]
        if not read:
            require_frame(min(frame for _, frame in of_video), str(path), source)
        return read
    stems = {_frame_name(picture): picture for picture in pictures}
    named = source.frame_names()
    if len(pictures) == 1:
        index = named.index(next(iter(stems))) if named is not None and next(iter(stems)) in named else source.start
        require_frame(index, str(path), source)
        return [(pictures[0], index)]
    if len(stems) < len(pictures):
        twice = next(picture for picture in pictures if picture is not stems[_frame_name(picture)])
        raise InputError(f"{path} has several pictures called {_frame_name(twice)}; give FRAME={path}#{twice.name}")
    matched, _ = match_frames(stems, source, path)
    return [(picture, index) for index, picture in matched.items()]


def _frame_name(picture: Picture) -> str:
    """The name of the frame that a picture shows: without folder and ending, of which some formats have none."""
    name = Path(picture.name)
    return name.stem if name.suffix.lower() in PICTURE_SUFFIXES else name.name


def _notes(one: Annotations) -> list[str]:
    """Sentences for the user: the file's format, the names of its objects, and what was changed."""
    called = listed([f"{object_id} {name}" for object_id, name in one.names.items()], 6)
    notes = [f"{one.path} {one.origin}" + (f": {called}" if called else ""), *one.notes]
    if count := sum(
        int((picture.labels > 0).sum()) < sum(int(item.mask.sum()) for item in one.items(picture))
        for picture in one.pictures
    ):
        notes.append(f"objects overlap in {plural(count, 'picture')}; there, a pixel belongs to the one drawn last")
    return notes
