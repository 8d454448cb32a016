"""Synthetic data: a clip of textured objects that move over a textured, slowly panning ground; and photographs."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco import Still, StillObject
from hodor_cli.errors import UsageError

FPS = 25.0
#: Enough synthetic photographs that a batch holds different ones.
_PICTURES = 8


@dataclass(frozen=True)
class BenchClip:
    """Frames (H, W, 3) uint8 RGB and the label map (H, W) uint16 of the first one, objects 1..N."""

    frames: list[NDArray[np.uint8]]
    first_labels: NDArray[np.uint16]


def make_clip(width: int, height: int, frames: int, objects: int, seed: int = 0) -> BenchClip:
    """A clip with `objects` ellipses on a grid, each with its own texture and its own path.

    Raises UsageError if the size leaves no room for the objects.
    """
    columns = int(np.ceil(np.sqrt(objects)))
    rows = -(-objects // columns)
    cell_width, cell_height = width / columns, height / rows
    if frames < 2 or objects < 1 or min(cell_width, cell_height) < 16:
        raise UsageError(f"a clip of {width}x{height} leaves no room for {objects} objects; use fewer or a larger clip")
    rng = np.random.default_rng(seed)
    ground = texture(width + frames * 2, height, rng)
    skins = [texture(width, height, rng) for _ in range(objects)]
    phases = rng.uniform(0, 2 * np.pi, objects)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pictures, first = [], np.zeros((height, width), dtype=np.uint16)
    for t in range(frames):
        picture = ground[:, 2 * t : 2 * t + width].copy()
        for i in range(objects):
            angle = phases[i] + 2 * np.pi * t / 32
            centre_x = (i % columns + 0.5) * cell_width + 0.15 * cell_width * np.cos(angle)
            centre_y = (i // columns + 0.5) * cell_height + 0.15 * cell_height * np.sin(angle)
            inside = ((x - centre_x) / (0.28 * cell_width)) ** 2 + ((y - centre_y) / (0.3 * cell_height)) ** 2 < 1
            # The texture moves with the object.
            moved = np.roll(skins[i], (round(centre_y), round(centre_x)), axis=(0, 1))
            picture[inside] = moved[inside]
            if t == 0:
                first[inside] = i + 1
        pictures.append(picture)
    return BenchClip(pictures, first)


def texture(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a random colour with smooth noise at three scales."""
    import cv2

    picture = np.empty((height, width, 3), dtype=np.float32)
    picture[:] = rng.uniform(40, 215, 3)
    for cell, strength in ((64, 25.0), (16, 15.0), (4, 8.0)):
        noise = rng.normal(0, strength, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(picture, 0, 255).astype(np.uint8)


def write_video(path: Path, clip: BenchClip) -> None:
    """Write the clip's frames as an H.264 file."""
    from hodor_cli.video.h264 import VideoWriter

    with VideoWriter(path, FPS) as video:
        for frame in clip.frames:
            video.write(frame)


class SyntheticPhotographs:
    """Pictures (as in `samples.sets.Pictures`) with `objects` ellipses each, made in advance so nothing is decoded.

    gate: while it is not set, `load` waits, in any process; a loader's workers then pause while something else is
    measured.
    """

    def __init__(self, size: tuple[int, int], objects: int, *, gate: Event | None = None) -> None:
        width, height = size
        self.gate = gate
        self.sizes = [(height, width)] * _PICTURES
        self.object_counts = [objects] * _PICTURES
        self.groups = ["synthetic"] * _PICTURES
        self._stills = []
        for number in range(_PICTURES):
            clip = make_clip(width, height, 2, objects, seed=number)
            marked = [StillObject(i, "ellipse", clip.first_labels == i) for i in range(1, objects + 1)]
            self._stills.append(Still(clip.frames[0], marked, str(number)))

    def load(self, index: int) -> Still:
        """Picture `index` with its ellipses."""
        if self.gate is not None:
            self.gate.wait()
        return self._stills[index]
