"""Augmentations of pixel values: colours, blur and compression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.samples.geometry import signed
from hodor_cli.samples.settings import AugmentSettings


@dataclass(frozen=True)
class ColourChange:
    """A colour change; `contrast` is relative to mid-grey, and `hue` is a share of the colour circle."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    brightness: float = 1.0
    hue: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The (H, W, 3) uint8 RGB image with this change."""
        ramp = (np.arange(256, dtype=np.float32) / 255) ** self.gamma * 255
        table = np.empty((1, 256, 3), dtype=np.uint8)
        for channel, gain in enumerate(self.gain):
            curve = ((ramp - 127.5) * self.contrast + 127.5) * self.brightness * gain
            table[0, :, channel] = np.clip(curve + 0.5, 0, 255)
        out = cv2.LUT(image, table)
        if abs(self.hue) > 1e-4 or abs(self.saturation - 1) > 1e-3:
            hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV)  # hue 0..179
            steps = np.arange(256)
            table = np.empty((1, 256, 3), dtype=np.uint8)
            table[0, :, 0] = np.round(steps + self.hue * 180) % 180
            table[0, :, 1] = np.clip(steps * self.saturation + 0.5, 0, 255)
            table[0, :, 2] = steps
            out = cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2RGB)
        return np.asarray(out, dtype=np.uint8)


def frame_colour(rng: np.random.Generator, settings: AugmentSettings) -> ColourChange:
    """The colour of one frame, within the settings' ranges."""
    return ColourChange(
        contrast=1 + signed(rng, settings.contrast),
        brightness=1 + signed(rng, settings.brightness),
        hue=signed(rng, settings.hue),
        saturation=1 + signed(rng, settings.saturation),
    )


def shared_colour(rng: np.random.Generator, settings: AugmentSettings) -> ColourChange | None:
    """One colour change for a whole sequence, or None when the settings ask for none."""
    strength = settings.shared_colour
    grey = rng.random() < settings.grey
    if strength <= 0 and not grey:
        return None
    r, g, b = (1 + strength * 0.5 * rng.uniform(-1, 1, 3)).tolist()
    return ColourChange(
        gain=(r, g, b),
        contrast=1 + strength * float(rng.uniform(-1, 1)),
        brightness=1 + strength * float(rng.uniform(-1, 1)),
        hue=0.15 * strength * float(rng.normal()),
        saturation=0.0 if grey else max(0.0, 1 + 2 * strength * float(rng.uniform(-1, 1))),
        gamma=float(np.exp(strength * rng.uniform(-1.5, 1.5))),
    )


class Look:
    """Colour and quality of a sequence: one colour change for the whole sequence, and others for its frames."""

    def __init__(self, rng: np.random.Generator, settings: AugmentSettings) -> None:
        self._rng, self._settings = rng, settings
        self._tint = shared_colour(rng, settings)
        self._colour = frame_colour(rng, settings)

    def apply(self, t: int, image: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Frame t (H, W, 3) with these changes, and black where `valid` (H, W) is false."""
        if self._tint is not None:
            image = self._tint.apply(image)
        if t and self._settings.colour_each_frame:
            self._colour = frame_colour(self._rng, self._settings)
        image = degrade(self._colour.apply(image), self._rng, self._settings)
        image[~valid] = 0
        return image


def degrade(image: NDArray[np.uint8], rng: np.random.Generator, settings: AugmentSettings) -> NDArray[np.uint8]:
    """Degrade an (H, W, 3) frame as a camera does: defocus or motion blur, a lower resolution, JPEG artefacts."""
    out: Any = image
    if rng.random() < settings.blur:
        if rng.random() < 0.5:
            out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.5, 1.8)))
        else:
            length, angle = int(rng.integers(2, 6)) * 2 + 1, float(rng.uniform(0, 180))  # a straight motion blur
            kernel: Any = np.zeros((length, length), dtype=np.float32)
            kernel[length // 2] = 1.0
            turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1.0)
            kernel = cv2.warpAffine(kernel, turn, (length, length))
            out = cv2.filter2D(out, -1, kernel / max(float(kernel.sum()), 1e-6))
    if rng.random() < settings.compression:
        if rng.random() < 0.5:
            height, width = out.shape[:2]
            ratio = float(rng.uniform(0.4, 0.8))
            small = cv2.resize(out, (max(1, round(width * ratio)), max(1, round(height * ratio))))
            out = cv2.resize(small, (width, height))
        else:
            _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 75))])
            out = cv2.imdecode(data, cv2.IMREAD_COLOR)  # RGB is encoded and decoded as if it were BGR
    return np.asarray(out, dtype=np.uint8)
