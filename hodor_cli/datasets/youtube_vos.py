"""YouTube-VOS's meta.json: which objects a video has, in which frames, and of which category."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hodor_cli.errors import DataError

#: The categories of the training set. Scores are given apart for objects of these and of all others.
SEEN_CATEGORIES = frozenset({
    "airplane", "ape", "bear", "bike", "bird", "boat", "bucket", "bus", "camel", "cat", "cow", "crocodile", "deer",
    "dog", "dolphin", "duck", "eagle", "earless_seal", "elephant", "fish", "fox", "frisbee", "frog", "giant_panda",
    "giraffe", "hand", "hat", "hedgehog", "horse", "knife", "leopard", "lion", "lizard", "monkey", "motorbike",
    "mouse", "others", "owl", "paddle", "parachute", "parrot", "penguin", "person", "plant", "rabbit", "raccoon",
    "sedan", "shark", "sheep", "sign", "skateboard", "snail", "snake", "snowboard", "squirrel", "surfboard",
    "tennis_racket", "tiger", "toilet", "train", "truck", "turtle", "umbrella", "whale", "zebra",
})  # fmt: skip


@dataclass(frozen=True)
class VideoMeta:
    """One video: the frames that are labelled, those where an object starts, and each object's group."""

    frames: tuple[str, ...]
    starts: frozenset[str]
    groups: Mapping[int, str]
    """Object id -> "seen" or "unseen"."""


def read_meta(root: Path) -> dict[str, VideoMeta] | None:
    """Video name -> what meta.json says of it; None where there is no meta.json. Raises DataError if it is damaged."""
    path = root / "meta.json"
    if not path.is_file():
        return None
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {name: _video(video["objects"]) for name, video in videos.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not YouTube-VOS's list of videos and objects ({error}); take it anew") from error


def _video(objects: Mapping[str, Mapping[str, Any]]) -> VideoMeta:
    frames = sorted({frame for thing in objects.values() for frame in thing["frames"]})
    starts = frozenset(min(thing["frames"]) for thing in objects.values() if thing["frames"])
    groups = {int(key): _group(thing.get("category")) for key, thing in objects.items()}
    return VideoMeta(tuple(frames), starts, {key: group for key, group in groups.items() if group})


def _group(category: Any) -> str:
    if not isinstance(category, str):
        return ""
    return "seen" if category.strip().lower().replace(" ", "_") in SEEN_CATEGORIES else "unseen"
