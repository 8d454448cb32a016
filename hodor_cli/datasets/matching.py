"""Finds the frame that a file belongs to by its name, for masks, predictions and data sets.

Programs number frames differently: masks 001.png may belong to frames img_001.jpg, and ffmpeg counts from 00001 where a
video's frames count from 0. The most likely interpretation is used and can be shown to the user; ambiguous names raise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from hodor_cli.errors import InputError
from hodor_cli.images.listing import frame_files
from hodor_cli.images.paths import listed, summarise_files, visible_files, visible_folders
from hodor_cli.images.picture import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from hodor_cli.video.frames import FrameSource

_SHOWN = 4
#: The highest frame number in a name that is looked for in a source of unknown length.
_MOST_FRAMES = 1 << 20
_ONE_BY_ONE = "give one as FRAME=FILE (or FRAME=FILE#NAME)"  # as the option --mask takes it


@dataclass(frozen=True)
class NameMatch:
    """frames: file name -> name of its frame, in the frames' order. unused: file names that match no frame. how: a
    sentence on how names were matched, empty if they are equal."""

    frames: Mapping[str, str]
    unused: tuple[str, ...] = ()
    how: str = ""

    def describe(self, where: object) -> list[str]:
        """Sentences for the user: how the files in `where` were matched, and which are not used."""
        notes = [f"{where}: {self.how}"] if self.how else []
        if self.unused:
            notes.append(f"{where}: {len(self.unused)} not used, named unlike any frame: {listed(self.unused, _SHOWN)}")
        return notes


@dataclass(frozen=True)
class _Reading:
    """One interpretation of the names. counts: whether their numbers count the frames instead of naming them."""

    pairs: dict[str, str]
    how: str = ""
    counts: bool = False


def match_names(names: Sequence[str], frames: Sequence[str], *, counted: bool = False) -> NameMatch:
    """Match the names of files to the names of frames, both without endings and in order.

    These are tried in order: equal names; equal numbers in names with a common pattern (img_001 and 001); a common
    prefix or suffix (bear_mask and bear); numbers that count the frames from 0, then from 1. The first that matches all
    files or all frames is used, or else the first that matches any. counted: the frames have no names but are numbered
    from 0, as in a video.

    The match is empty if nothing fits. Raises InputError if two interpretations are equally likely.
    """
    if not counted and (given := set(names)) <= set(frames):
        return NameMatch({frame: frame for frame in frames if frame in given})
    numbers = _numbers(names) or _numbers([name for name in names if name.isdecimal()])
    readings = [] if counted else _related(names, frames, numbers)
    if numbers is not None:
        readings += [
            _counting(numbers, frames, 0, "" if counted else "numbers are taken to count the frames from 0"),
            _counting(numbers, frames, 1, "numbers are taken to count the frames from 1, as ffmpeg does"),
        ]
    fitting = [reading for reading in readings if reading.pairs]
    if not fitting:
        return NameMatch({}, tuple(names))
    whole = [reading for reading in fitting if len(reading.pairs) in (len(names), len(frames))]
    best = (whole or fitting)[0]
    _refuse_doubt(best, fitting, names, frames, numbers)
    place = {frame: index for index, frame in enumerate(frames)}
    ordered = dict(sorted(best.pairs.items(), key=lambda pair: place[pair[1]]))
    name, frame = next(iter(ordered.items()))
    how = f"{best.how}: {name} is {f'frame {place[frame]}' if counted else frame}" if best.how else ""
    return NameMatch(ordered, tuple(name for name in names if name not in ordered), how)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def match_frames(
    files: Mapping[str, N], source: FrameSource, where: Path, otherwise: str = _ONE_BY_ONE
) -> tuple[dict[int, N], list[str]]:
    """Frame index -> file, for the frames that are read, in their order; and sentences on how files were matched and
    which are not used.

    files: name without ending -> file or picture in `where`. Raises InputError if the names are ambiguous, or if none
    belongs to a frame that is read; it suggests to rename them, or what `otherwise` says.
    """
    names, frames = list(files), source.frame_names()
    counted = frames is None
    if frames is None:
        numbers = [int(digits[-1]) for name in names if (digits := re.findall(r"[0-9]+", name))]
        last = min(max(numbers, default=0), _MOST_FRAMES)
        count = source.count_up_to(last + 1)
        frames = [f"{index:05d}" for index in range(last + 1 if count is None else min(count, last + 1))]
    match = match_names(names, frames, counted=counted)
    place = {frame: index for index, frame in enumerate(frames)}
    stop = len(frames) if source.end is None else source.end
    used = {place[frame]: files[name] for name, frame in match.frames.items()}
    read = {index: file for index, file in used.items() if source.start <= index < stop}
    if not read:
        first = source.start if counted else min(source.start, len(frames) - 1)
        example = f"by number, like {first:05d}" if counted else f"like {frames[first]}"
        raise InputError(
            f"no mask in {where} belongs to a frame that is read: they are named like {files[names[0]].name}, "
            f"the frames {example}; rename them, or {otherwise}"
        )
    notes = match.describe(where)
    if outside := [file.name for index, file in used.items() if index not in read]:
        notes.append(f"{where}: {len(outside)} not used, because their frames are not read, such as {outside[0]}")
    return read, notes


def match_mask_folder(
    folder: Path, source: FrameSource, otherwise: str = _ONE_BY_ONE
) -> tuple[dict[int, Path], list[str]]:
    """Frame index -> mask file of a folder, and sentences on how files were matched and which are not used."""
    files = frame_files(folder, PICTURE_SUFFIXES | {".npy"})
    if not files:
        found = summarise_files(visible_files(folder))
        # A run writes its masks to the sub-folder `masks`.
        inside = [sub for sub in visible_folders(folder) if any(name.endswith(".png") for name in visible_files(sub))]
        hint = f"; did you mean {inside[0]}?" if inside else "; give a folder of masks named like the frames"
        raise InputError(f"{folder} holds no masks (PNG or .npy){f' but {found}' if found else ''}{hint}")
    return match_frames(files, source, folder, otherwise)


def require_frame(frame: int, argument: str, source: FrameSource) -> None:
    """Raise `InputError` unless the frame that `argument` names will be read."""
    if source.has_frame(frame):
        return
    if frame < source.start:
        raise InputError(f"frame {frame} of {argument!r} comes before `start` {source.start} and is never read")
    if source.end is not None and frame >= source.end:
        raise InputError(f"frame {frame} of {argument!r} is not read, because `end` is {source.end}")
    count = source.count_up_to(frame + 1) or 0
    raise InputError(f"frame {frame} of {argument!r} is past the end: {source.label} has frames 0 to {count - 1}")


def _refuse_doubt(
    best: _Reading,
    fitting: Sequence[_Reading],
    names: Sequence[str],
    frames: Sequence[str],
    numbers: Mapping[str, int] | None,
) -> None:
    """Raise InputError if another interpretation of the names is as likely as the best one."""
    if not best.counts or len(best.pairs) == len(names) == len(frames):
        return
    rivals = [reading for reading in fitting if not reading.counts]
    if not rivals and numbers is not None and min(numbers.values()) == 1:
        # Numbers that start at 1 may count from 1, or from 0 without a file for the first frame.
        rivals = [reading for reading in fitting if reading is not best and len(best.pairs) <= len(reading.pairs)]
    if not rivals:
        return
    rival = rivals[0].pairs
    name, frame = next((name, frame) for name, frame in best.pairs.items() if rival.get(name) != frame)
    raise InputError(
        f"{name} may belong to {f'the frame {rival[name]} or' if name in rival else 'no frame or to'} {frame}, because "
        f"the files may be numbered differently than the frames ({frames[0]} to {frames[-1]}); give the files the "
        "names of their frames, and leave out the others"
    )


def _related(names: Sequence[str], frames: Sequence[str], numbers: Mapping[str, int] | None) -> list[_Reading]:
    """The interpretations that compare names: equal in any Unicode form (if none are, ignoring case), equal in their
    number, or equal without a common prefix or suffix."""
    readings = []
    for form in (_composed, lambda name: _composed(name).casefold()):
        same = {form(frame): frame for frame in frames}
        pairs = {name: same[form(name)] for name in names if form(name) in same}
        if pairs and len(set(pairs.values())) == len(pairs):
            readings.append(_Reading(pairs))
            break
    of_frames = _numbers(frames)
    if numbers is not None and of_frames is not None:
        by_number = {number: frame for frame, number in of_frames.items()}
        pairs = {name: by_number[number] for name, number in numbers.items() if number in by_number}
        readings.append(_Reading(pairs, "names are matched by their number"))
    for longer, shorter, swap in ((names, frames, False), (frames, names, True)):
        for ends in (True, False):
            added = _affix(longer, shorter, ends)
            if added:
                cut = {name: name[: -len(added)] if ends else name[len(added) :] for name in longer}
                known = {_composed(name): name for name in shorter}
                found = {name: known[rest] for name, rest in cut.items() if rest in known}
                pairs = {short: long for long, short in found.items()} if swap else found
                readings.append(_Reading(pairs, f"names are matched without {added}"))
    return readings


def _affix(longer: Sequence[str], shorter: Sequence[str], ends: bool) -> str:
    """The prefix or, with `ends`, suffix of all `longer` names whose removal turns the first into a `shorter` one."""
    if not longer:
        return ""
    first = _composed(longer[0])
    for short in map(_composed, shorter):
        if len(short) < len(first) and (first.startswith(short) if ends else first.endswith(short)):
            added = first[len(short) :] if ends else first[: -len(short)]
            if all(_composed(name).endswith(added) if ends else _composed(name).startswith(added) for name in longer):
                return added
    return ""


def _counting(numbers: Mapping[str, int], frames: Sequence[str], first: int, how: str) -> _Reading:
    pairs = {name: frames[number - first] for name, number in numbers.items() if 0 <= number - first < len(frames)}
    if first and min(numbers.values()) != first:
        pairs = {}  # only a file for the first frame suggests counting from 1
    return _Reading(pairs, how, counts=True)


def _numbers(names: Sequence[str]) -> dict[str, int] | None:
    """The number in each name, if the names differ only in that number and it is unique; otherwise None."""
    parts = {name: re.split(r"([0-9]+)", _composed(name).casefold()) for name in names}
    if not parts or len({len(split) for split in parts.values()}) != 1:
        return None
    columns = list(zip(*parts.values(), strict=True))
    digits = range(1, len(columns), 2)
    varying = [place for place in digits if len({int(text) for text in columns[place]}) > 1] or list(digits)[-1:]
    if len(varying) != 1 or any(len(set(columns[place])) > 1 for place in range(0, len(columns), 2)):
        return None
    found = {name: int(split[varying[0]]) for name, split in parts.items()}
    return found if len(set(found.values())) == len(found) else None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
