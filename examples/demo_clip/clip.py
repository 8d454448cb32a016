"""The demo's clip: two real objects over a real photograph, moved so that the true masks are known exactly.

A cup of coffee (object 2) flies past a rocket, turning, growing and shrinking, and passes behind the head of an
astronaut (object 1), while the camera moves, the light changes and the picture is slightly noisy and blurred. The
pixels are the same each time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from demo_clip import motion, outlines
from demo_clip.photographs import ASTRONAUT_PORTRAIT, COFFEE, ROCKET, Cutout, cut_out, read_photograph
from hodor_cli.errors import OutputError, UsageError

ASTRONAUT_ID = 1
CUP_ID = 2
"""Object 2 is green in the overlay, which is easier to see on a red saucer than the red of object 1."""
OBJECT_NAMES = {ASTRONAUT_ID: "the astronaut", CUP_ID: "the cup"}
SEQUENCE = "demo"
RESOLUTION = "480p"
SHUTTER = (-0.2, -0.1, 0.0, 0.1, 0.2)
"""Moments, in frames relative to the frame's time, that are averaged to motion blur."""


@dataclass(frozen=True)
class DemoClip:
    """Settings of the clip; frames are rendered on demand.

    Attributes:
        frames: How many frames the whole movement takes.
        height, width: Size of a frame; the movement is laid out for 480x854 and scaled to others.
        fps: Frames per second.
        noise: Standard deviation of the pixel noise, in grey levels.
    """

    frames: int = 72
    height: int = 480
    width: int = 854
    fps: int = 24
    noise: float = 3.0

    def __post_init__(self) -> None:
        if self.frames < 2 or self.height < 32 or self.width < 32:
            raise UsageError(
                f"the demo clip needs at least 2 frames of 32x32, not {self.frames} of {self.width}x{self.height}"
            )

    @cached_property
    def _cup(self) -> Cutout:
        return cut_out(COFFEE, outlines.CUP, centre=(280, 205))

    @cached_property
    def _astronaut(self) -> Cutout:
        return cut_out(ASTRONAUT_PORTRAIT, outlines.ASTRONAUT, centre=(250, 330))

    @cached_property
    def _background(self) -> np.ndarray:
        return read_photograph(ROCKET).astype(np.float32)

    def render(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Frame `index`: (H, W, 3) uint8 RGB, and its true label map (H, W) uint16 of what is visible."""
        if not 0 <= index < self.frames:
            raise UsageError(f"the demo clip has frames 0 to {self.frames - 1}, not {index}")
        last = self.frames - 1
        background = self._background
        centre = (background.shape[1] / 2, background.shape[0] / 2)
        image = self._warp(background, motion.camera(index / last).matrix(centre), border_reflects=True)
        labels = np.zeros((self.height, self.width), np.uint16)
        for object_id, cutout, way in (
            (CUP_ID, self._cup, motion.cup),
            (ASTRONAUT_ID, self._astronaut, motion.astronaut),
        ):
            # The shutter is open for 0.4 of a frame; the true mask is that of the middle moment.
            moments = [way((index + offset) / last).matrix(cutout.centre) for offset in SHUTTER]
            layers = [self._warp(cutout.pixels, matrix) for matrix in moments]
            labels[layers[len(layers) // 2][..., 3] > 0.5] = object_id
            blurred = sum(layers[1:], start=layers[0]) / len(layers)
            image = blurred[..., :3] + image * (1 - blurred[..., 3:])
        noise = np.random.default_rng(index).standard_normal(image.shape, dtype=np.float32)
        image = image * np.float32(motion.brightness(index / last)) + self.noise * noise
        return np.clip(np.rint(image), 0, 255).astype(np.uint8), labels

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in range(self.frames):
            yield self.render(index)

    def _warp(self, pixels: np.ndarray, matrix: np.ndarray, border_reflects: bool = False) -> np.ndarray:
        import cv2

        fit = np.diag([self.width / 854, self.height / 480])
        border = cv2.BORDER_REFLECT_101 if border_reflects else cv2.BORDER_CONSTANT
        size = (self.width, self.height)
        return cv2.warpAffine(pixels, fit @ matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)


@dataclass(frozen=True)
class ClipFiles:
    """Where the clip was written."""

    video: Path
    first_mask: Path
    frames_folder: Path
    masks_folder: Path


def write_clip(folder: Path | str, clip: DemoClip | None = None, *, overwrite: bool = False) -> ClipFiles:
    """Write the clip as a video and as a DAVIS-like data set: frames in JPEG, their true masks in palette PNG.

    Makes `clip.mp4`, `JPEGImages/480p/demo/00000.jpg ...`, `Annotations/480p/demo/00000.png ...` in `folder`.

    Raises:
        OutputError: one of them exists and `overwrite` is False.
    """
    from PIL import Image

    from hodor_cli.images.label_png import write_label_png
    from hodor_cli.video.h264 import VideoWriter

    folder, clip = Path(folder), clip or DemoClip()
    names = ("clip.mp4", "JPEGImages", "Annotations")
    if not overwrite and (there := [name for name in names if (folder / name).exists()]):
        raise OutputError(f"{folder / there[0]} exists already; choose another folder or ask to overwrite it")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as temporary:
        made = Path(temporary)
        images, masks = made / "JPEGImages" / RESOLUTION / SEQUENCE, made / "Annotations" / RESOLUTION / SEQUENCE
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        with VideoWriter(made / "clip.mp4", clip.fps) as video:
            for index, (image, labels) in enumerate(clip):
                Image.fromarray(image).save(images / f"{index:05d}.jpg", quality=93, subsampling=0)
                write_label_png(masks / f"{index:05d}.png", labels)
                video.write(image)
        for name in names:
            target = folder / name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(made / name, target)
    annotations = folder / "Annotations" / RESOLUTION / SEQUENCE
    return ClipFiles(
        video=folder / "clip.mp4",
        first_mask=annotations / "00000.png",
        frames_folder=folder / "JPEGImages" / RESOLUTION / SEQUENCE,
        masks_folder=annotations,
    )
