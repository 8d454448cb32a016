"""A segmenter without a network, for tests of everything around it: objects are found by their colour."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.engine import ObjectResult, StepResult
from hodor_cli.video.frames import Frame, FrameSource, ReadSettings

COLOURS = {1: (200, 40, 30), 2: (30, 60, 220)}


class ColourSegmenter:
    """Follows an object by its mean colour in its mask, drawn towards what it finds; its state decides every result."""

    device = "cpu"
    min_dim = 64

    def __init__(self) -> None:
        self.colours: dict[int, np.ndarray] = {}
        self.steps = 0
        self.last = StepResult(np.zeros((0, 0), np.uint16), network_seconds=0.001)
        self.warn_at: int | None = None

    def step(self, frame: np.ndarray, masks: Any = None, *, time: float | None = None) -> np.ndarray:
        frame = np.asarray(frame)
        labels = np.zeros(frame.shape[:2], np.uint16)
        outcome = StepResult(labels, network_seconds=0.001)
        for key in [] if masks is None else np.unique(masks[masks > 0]).tolist():
            self.colours[key] = frame[masks == key].mean(axis=0)
        for key, colour in self.colours.items():
            found = (np.abs(frame.astype(float) - colour).max(axis=2) < 40) & (labels == 0)
            labels[found] = key
            if found.any():
                self.colours[key] = 0.9 * colour + 0.1 * frame[found].mean(axis=0)
            confidence = 1 / (1 + self.steps % 7) if found.any() else 0.0
            outcome.objects[key] = ObjectResult(int(found.sum()), confidence, not found.any())
        self.steps += 1
        if self.warn_at == self.steps:
            outcome.warnings.append("object 9 is too small to follow")
        self.last = outcome
        return labels

    @property
    def object_ids(self) -> list[int]:
        return list(self.colours)

    def remove(self, object_id: int) -> None:
        del self.colours[object_id]

    def state(self) -> dict[str, np.ndarray]:
        ids = np.array(sorted(self.colours))
        colours = np.array([self.colours[int(key)] for key in ids]).reshape(len(ids), 3)
        return {"ids": ids, "colours": colours, "steps": np.array(self.steps)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self.colours = {int(key): colour for key, colour in zip(state["ids"], state["colours"], strict=True)}
        self.steps = int(state["steps"])


class MemorySource(FrameSource):
    """Frames from a list; `times` are their seconds."""

    kind = "video"

    def __init__(self, images: list[np.ndarray], fps: float = 25.0, times: list[float] | None = None) -> None:
        super().__init__("clip.mp4", "clip", ReadSettings())
        self.images, self.fps = images, fps
        self.times = times or [index / fps for index in range(len(images))]
        self.height, self.width = images[0].shape[:2]
        self.length, self.exact_length = len(images), True

    def has_frame(self, index: int) -> bool:
        return 0 <= index < len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self.images):
            yield Frame(index, f"{index:05d}", image, self.times[index])


def two_squares(count: int, height: int = 48, width: int = 64) -> tuple[list[np.ndarray], np.ndarray]:
    """`count` frames with a red and a blue square that move over a textured ground, and the label map of the first."""
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([80 + rows % 30, 120 + columns % 40, 90 + (rows + columns) % 20], -1).astype(np.uint8)
    frames, first = [], np.zeros((height, width), np.uint16)
    for index in range(count):
        frame = ground.copy()
        left, right = 2 + index % (width // 3), width // 2 + 2 + index % (width // 3)
        for key, x, y in ((1, left, 6), (2, right, height // 2)):
            frame[y : y + 12, x : x + 12] = COLOURS[key]
            if index == 0:
                first[y : y + 12, x : x + 12] = key
        frames.append(frame)
    return frames, first


def read_video(path: Path) -> list[np.ndarray]:
    """All frames of a video, (H, W, 3) uint8 RGB."""
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
