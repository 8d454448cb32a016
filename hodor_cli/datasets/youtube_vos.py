"""YouTube-VOS's meta.json: which objects a video has, in which frames, and of which category."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hodor_cli.datasets.report import reason_of
from hodor_cli.errors import DataError

#: The categories of the training set. Objects of these and of all other categories are scored separately.
SEEN_CATEGORIES = frozenset({
    "airplane", "ape", "bear", "bike", "bird", "boat", "bucket", "bus", "camel", "cat", "cow", "crocodile", "deer",
    "dog", "dolphin", "duck", "eagle", "earless_seal", "elephant", "fish", "fox", "frisbee", "frog", "giant_panda",
    "giraffe", "hand", "hat", "hedgehog", "horse", "knife", "leopard", "lion", "lizard", "monkey", "motorbike",
    "mouse", "others", "owl", "paddle", "parachute", "parrot", "penguin", "person", "plant", "rabbit", "raccoon",
    "sedan", "shark", "sheep", "sign", "skateboard", "snail", "snake", "snowboard", "squirrel", "surfboard",
    "tennis_racket", "tiger", "toilet", "train", "truck", "turtle", "umbrella", "whale", "zebra",
})  # fmt: skip


class _Thing(msgspec.Struct):
    frames: list[str] | None = None
    category: str | None = None


class _Video(msgspec.Struct):
    objects: dict[str, _Thing]


class _Meta(msgspec.Struct):
    videos: dict[str, _Video]


@dataclass(frozen=True)
class VideoMeta:
    """One video: the names of the frames in which each object is labelled, and each object's group."""

    objects: Mapping[int, frozenset[str]]
    groups: Mapping[int, str]
    """Object id -> "seen" or "unseen"."""

    @property
    def starts(self) -> frozenset[str]:
        """The frames in which an object starts."""
        return frozenset(min(frames) for frames in self.objects.values() if frames)


def read_meta(root: Path) -> dict[str, VideoMeta] | None:
    """Read meta.json: video name -> its objects. None without a meta.json, or if it is another data set's (LVOS lists
    ranges of frames). Raises DataError if it is damaged."""
    path = root / "meta.json"
    if not path.is_file():
        return None
    try:
        content = msgspec.json.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), type=_Meta)
        things = [thing for video in content.videos.values() for thing in video.objects.values()]
        if things and all(thing.frames is None for thing in things):
            return None
        return {name: _video(video) for name, video in content.videos.items()}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is not YouTube-VOS's list of videos and objects ({reason_of(error)}); download it again"
        ) from error


def _video(video: _Video) -> VideoMeta:
    for key in video.objects:
        if not (key.isascii() and key.isdecimal() and len(key) < 10):
            raise ValueError(f"{key!r} is no object id")
    objects = {int(key): frozenset(thing.frames or ()) for key, thing in video.objects.items()}
    groups = {int(key): _group(thing.category) for key, thing in video.objects.items() if thing.category is not None}
    return VideoMeta(objects, groups)


def _group(category: str) -> str:
    return "seen" if category.strip().lower().replace(" ", "_") in SEEN_CATEGORIES else "unseen"
