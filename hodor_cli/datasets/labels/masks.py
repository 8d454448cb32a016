"""Which frame of a source each mask belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hodor_cli.datasets.matching import NameMatch, match_names
from hodor_cli.errors import InputError
from hodor_cli.images.listing import files_by_frame
from hodor_cli.images.paths import plural, summarise_files, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES
from hodor_cli.video.frames import FrameSource

#: In a source of unknown length, frame numbers in names may go up to this.
_MOST_FRAMES = 1 << 20


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
        found = summarise_files(visible_files(folder))
        # The results of a run have their masks in `masks`.
        inside = [sub for sub in visible_folders(folder) if any(name.endswith(".png") for name in visible_files(sub))]
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise InputError(f"{folder} holds no masks (PNG or .npy){f' but {found}' if found else ''}{hint}")
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
