"""Small benchmarks on disk and a segmenter that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 80)


def label_map(objects: dict[int, tuple[int, int, int]], size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W) uint8 with a square {id: (top, left, side)} per object."""
    labels = np.zeros(size, np.uint8)
    for object_id, (top, left, side) in objects.items():
        labels[top : top + side, left : left + side] = object_id
    return labels


def moving_labels(count: int, ids: Sequence[int] = (1, 2), size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Label maps of squares that move to the right, one pixel per frame."""
    return [
        label_map({object_id: (3 + 16 * row, 4 + t, 12) for row, object_id in enumerate(ids)}, size)
        for t in range(count)
    ]


def write_labels(path: Path, labels: np.ndarray) -> None:
    """A palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    image.putpalette([value % 256 for value in range(768)])
    image.save(path)


def write_sequence(
    images: Path | None, masks: Path | None, labels: Sequence[np.ndarray], *, every: int = 1, only_first: bool = False
) -> None:
    """Frames 00000.jpg and masks 00000.png; the frames show where the objects are."""
    for index, frame in enumerate(labels):
        if images is not None:
            images.mkdir(parents=True, exist_ok=True)
            picture = np.full((*frame.shape, 3), 90, np.uint8)
            picture[frame > 0] = (200, 40, 40)
            Image.fromarray(picture).save(images / f"{index:05d}.jpg")
        if masks is not None and index % every == 0 and (index == 0 or not only_first):
            write_labels(masks / f"{index:05d}.png", frame)


def davis(root: Path, sequences: dict[str, Sequence[np.ndarray]], *, size: str = "480p", **options: Any) -> Path:
    """A DAVIS tree."""
    for name, labels in sequences.items():
        write_sequence(root / "JPEGImages" / size / name, root / "Annotations" / size / name, labels, **options)
    return root


def predictions(root: Path, sequences: dict[str, Sequence[np.ndarray]]) -> Path:
    """Predicted masks SEQ/00000.png."""
    for name, labels in sequences.items():
        write_sequence(None, root / name, labels)
    return root


def write_meta(root: Path, videos: dict[str, dict[str, tuple[str, list[str]]]]) -> None:
    """YouTube-VOS's meta.json from {video: {id: (category, frames)}}."""
    content: dict[str, Any] = {}
    for name, objects in videos.items():
        content[name] = {"objects": {key: {"category": c, "frames": frames} for key, (c, frames) in objects.items()}}
    (root / "meta.json").write_text(json.dumps({"videos": content}))


class FollowingSegmenter:
    """Repeats the masks it was given, moved to the right by one pixel per frame: right on `moving_labels`."""

    history = 3

    def __init__(self, *, speed: int = 1, fail_on: int | None = None) -> None:
        self.speed, self.fail_on = speed, fail_on
        self.sequences = 0
        self.given: list[tuple[int, list[int]]] = []
        self.reset()

    def reset(self) -> None:
        self.labels: np.ndarray | None = None
        self.steps = 0
        self.last = SimpleNamespace(network_seconds=0.0, warnings=[])

    def step(self, frame: np.ndarray, masks: dict[int, np.ndarray] | None = None) -> np.ndarray:
        if self.steps == 0:
            self.sequences += 1
        if self.fail_on == self.sequences:
            raise RuntimeError("out of memory")
        if self.labels is None:
            self.labels = np.zeros(frame.shape[:2], np.uint16)
        else:
            self.labels = np.roll(self.labels, self.speed, axis=1)
        if masks:
            self.given.append((self.steps, sorted(masks)))
            for object_id, mask in masks.items():
                self.labels[mask] = object_id
        self.steps += 1
        self.last = SimpleNamespace(network_seconds=0.5, warnings=[])
        return self.labels.copy()
