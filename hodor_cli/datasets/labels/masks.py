"""Masks as arguments: `[FRAME[:ID]=]FILE` and folders of masks, combined per frame.

`read_mask` reads one file; the functions here assign files to frames and combine several files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hodor_cli.datasets.labels.combining import MaskInput, combine_masks
from hodor_cli.datasets.labels.mask_colours import Colour
from hodor_cli.datasets.labels.mask_file import read_mask
from hodor_cli.datasets.labels.mask_values import MaskFile
from hodor_cli.datasets.matching import NameMatch, match_names
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.label_png import MAX_ID
from hodor_cli.images.listing import files_by_frame
from hodor_cli.images.paths import exists, plural, require_exists, summarise_files, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES
from hodor_cli.video.frames import FrameSource

_BY_ID = re.compile(r"\s*(\d+):(\d+)=(.+)", re.DOTALL)
#: In a source of unknown length, frame numbers in names may go up to this.
_MOST_FRAMES = 1 << 20


def read_masks_and_ends(
    arguments: Iterable[str], source: FrameSource, further: Iterable[tuple[int, MaskInput]] = ()
) -> tuple[dict[int, MaskInput], dict[int, list[int]]]:
    """Read masks given as `[FRAME[:ID]=]FILE`, or as folders whose files are named like the source's frames.

    Without FRAME, a file belongs to the first frame that is read. further: masks by frame to combine with them.

    Returns frame -> mask, ascending, and frame -> ids that end there because FRAME:ID=FILE is an empty mask. Raises
    UsageError if FRAME is not a number or is given with a folder, InputError if FRAME is after the end, if a file is
    wrong, or as `combine_masks` does.
    """
    entries = list(further)
    ends: dict[int, list[int]] = {}
    known: dict[int, Colour] = {}
    for argument in arguments:
        match = _BY_ID.fullmatch(argument)
        if match is None or exists(Path(argument).expanduser()):
            read = _read_argument(argument, source, known)
            entries += [(frame, MaskInput.of((str(path),), mask)) for frame, path, mask in read]
            continue
        frame, object_id = int(match[1]), int(match[2])
        mask = _named_object(argument, frame, object_id, Path(match[3]).expanduser(), source)
        if mask is None:
            ends.setdefault(frame, []).append(object_id)
        else:
            entries.append((frame, mask))
    return combine_masks(entries), ends


def _named_object(argument: str, frame: int, object_id: int, path: Path, source: FrameSource) -> MaskInput | None:
    """The mask of "FRAME:ID=FILE", None if it is empty.

    Raises InputError for a file that holds several objects, UsageError for an id out of range.
    """
    if not 1 <= object_id <= MAX_ID:
        raise UsageError(f"the id in {argument!r} must be 1 to {MAX_ID}")
    require_frame(frame, argument, source)
    require_exists(path, "mask")
    mask = read_mask(path, size=(source.height, source.width), allow_empty=True)
    if len(mask.object_ids) > 1:
        raise InputError(
            f"{path} holds {len(mask.object_ids)} objects, but {argument!r} names one; give {frame}={path}"
        )
    labels = np.where(mask.labels > 0, object_id, 0).astype(np.uint16)
    # What a file with one object was taken for, with the id that it was given here.
    notes = [] if mask.colours else [note.replace("with id 1", f"with id {object_id}") for note in mask.notes]
    read = MaskInput.of((str(path),), MaskFile(labels, notes))
    return replace(read, named=True) if labels.any() else None


def frame_of_argument(argument: str, source: FrameSource) -> tuple[int | None, str]:
    """Split "[FRAME=]FILE" and check FRAME against the source; FRAME is None if it is not given."""
    match = re.fullmatch(r"\s*([+-]?\d+)=(.*)", argument, flags=re.DOTALL)
    if match is None or exists(Path(argument).expanduser()):  # a file may have the name 5=a.png
        return None, argument
    frame = int(match.group(1))
    if frame < 0:
        raise UsageError(f"FRAME is {frame} in {argument!r}, but frames count from 0 ([FRAME=]FILE)")
    require_frame(frame, argument, source)
    return frame, match.group(2)


def _read_argument(
    argument: str, source: FrameSource, known: dict[int, Colour]
) -> Iterator[tuple[int, Path, MaskFile]]:
    """Yield (frame, file, mask); `known` collects the colours of RGB masks, so that one colour stays one object."""
    if not argument.strip() or argument.rstrip().endswith("="):
        raise UsageError(f"the mask {argument!r} names no file; give [FRAME=]FILE or a folder of masks")
    frame, rest = frame_of_argument(argument, source)
    path = Path(rest).expanduser()
    before, sign, after = argument.partition("=")
    if frame is None and sign and not exists(path) and exists(Path(after).expanduser()):
        raise UsageError(f"FRAME is {before!r} in {argument!r}, but it must be a number (frames count from 0)")
    require_exists(path, "mask")
    if path.is_dir():
        if frame is not None:
            raise UsageError(
                f"{argument!r} gives a frame for a folder, whose files are named like their frames; drop {frame}="
            )
        files, notes = match_mask_folder(path, source)
    else:
        files, notes = {source.start if frame is None else frame: path}, []
    found = has_void = False
    for index, file in files.items():
        mask = read_mask(file, size=(source.height, source.width), known_colours=known, allow_empty=path.is_dir())
        known.update(mask.colours or {})
        has_void = has_void or mask.void is not None
        if not mask.labels.any() or (mask.white and has_void):
            continue  # a frame may be empty, and void alone is no object
        mask.notes[:0] = [] if found else notes
        found = True
        yield index, file, mask
    if not found:
        raise InputError(f"the masks in {path} hold no object: every pixel of all {len(files)} is background")


def match_frames(names: Sequence[str], source: FrameSource) -> tuple[NameMatch, list[str], bool]:
    """Match names without endings to the frames of a source; returns the match, the names of the frames, and whether
    these are only counted. Raises InputError in doubt."""
    frames = source.frame_names()
    counted = frames is None
    if frames is None:
        numbers = [int(digits[-1]) for name in names if (digits := re.findall(r"[0-9]+", name))]
        last = min(max(numbers, default=0), _MOST_FRAMES)
        count = source.count_up_to(last + 1)
        frames = [f"{index:05d}" for index in range(last + 1 if count is None else min(count, last + 1))]
    return match_names(names, frames, counted=counted), frames, counted


def match_mask_folder(folder: Path, source: FrameSource) -> tuple[dict[int, Path], list[str]]:
    """Frame index -> mask file of a folder, and sentences on how files were matched and which are not used."""
    names = [name for name in visible_files(folder) if Path(name).suffix.lower() in PICTURE_SUFFIXES | {".npy"}]
    if not names:
        found = summarise_files(visible_files(folder)) or "no files"
        # The results of a run have their masks in `masks`.
        inside = [sub for sub in visible_folders(folder) if any(name.endswith(".png") for name in visible_files(sub))]
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise InputError(f"{folder} holds no masks (PNG or .npy) but {found}{hint}")
    files = files_by_frame(folder / name for name in names)
    match, frames, counted = match_frames(list(files), source)
    place = {frame: index for index, frame in enumerate(frames)}
    stop = len(frames) if source.end is None else source.end
    used = {place[frame]: files[name] for name, frame in match.frames.items()}
    read = {index: file for index, file in used.items() if source.start <= index < stop}
    if not read:
        first = source.start if counted else min(source.start, len(frames) - 1)
        example = f"by number, like {first:05d}" if counted else f"like {frames[first]}"
        raise InputError(
            f"no mask in {folder} belongs to a frame that is read: they are named like {names[0]}, the frames "
            f"{example}; rename them, or give one as FRAME=FILE"
        )
    notes = match.describe(folder)
    if len(read) < len(used):
        outside = [file.name for index, file in used.items() if index not in read]
        notes.append(f"{folder}: {len(outside)} not used, because their frames are not read, such as {outside[0]}")
    return dict(sorted(read.items())), notes


def require_frame(frame: int, argument: str, source: FrameSource) -> None:
    """Raise `InputError` unless the frame that `argument` names will be read."""
    if source.has_frame(frame):
        return
    if frame < source.start:
        raise InputError(f"frame {frame} of {argument!r} lies before `start` {source.start} and is never read")
    if source.end is not None and frame >= source.end:
        raise InputError(f"frame {frame} of {argument!r} is not read, because `end` is {source.end}")
    count = source.count_up_to(frame + 1) or 0
    raise InputError(
        f"frame {frame} of {argument!r} is past the end: {source.label} has {plural(count, 'frame')}, counted from 0"
    )
