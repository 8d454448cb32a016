"""Converts frames and masks to the network's input: scaled, normalised, padded (HODOR, sec. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.config import Rgb
from hodor_cli.runtime.constants import cached_constant

#: Input sides are padded to multiples of the backbone's coarsest stride.
STRIDE = 32


class Scalable(Protocol):
    """A picture that converts itself to RGB at any size, without a copy at its full size."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""

    def scaled(self, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 RGB, resized as `resize` does."""


@dataclass(frozen=True)
class Geometry:
    """How frames of one size become the network's input: their original, scaled and padded (height, width)."""

    original: tuple[int, int]
    scaled: tuple[int, int]
    padded: tuple[int, int]

    @staticmethod
    def of(height: int, width: int, *, min_dim: int, max_dim: int) -> Geometry:
        """Scale the shorter side to min_dim, or less if the longer side would exceed max_dim."""
        scale = min(min_dim / min(height, width), max_dim / max(height, width))
        scaled = (max(round(scale * height), 1), max(round(scale * width), 1))
        padded = (scaled[0] + -scaled[0] % STRIDE, scaled[1] + -scaled[1] % STRIDE)
        return Geometry((height, width), scaled, padded)


def frame_fault(frame: Any) -> str:
    """A sentence about why a frame is not an (H, W, 3) uint8 array of at least one pixel; "" if it is."""
    array, shape = isinstance(frame, np.ndarray), tuple(getattr(frame, "shape", ()))
    if array and shape[2:] == (3,) and frame.dtype == np.uint8 and frame.size:
        return ""
    found = "" if array else type(frame).__name__
    if hasattr(frame, "dtype"):
        found = f"{found} {shape} {frame.dtype}".strip()
    channels_first = len(shape) == 3 and shape[0] == 3 and shape[2] != 3
    hint = "; it looks like (3, H, W), so move the channels to the end" if channels_first else ""
    return f"a frame must be (H, W, 3) uint8 RGB in a NumPy array, not {found}{hint}"


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, H, W) float bilinearly, as everywhere in the method: corners not aligned, no antialiasing."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def pad(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Pad with zeros at the right and the bottom to `size` (height, width)."""
    if images.shape[-2:] == size:
        return images
    return F.pad(images, (0, size[1] - images.shape[-1], 0, size[0] - images.shape[-2]))


def normalise(frames: Tensor, mean: Rgb, std: Rgb) -> Tensor:
    """Normalise (B, 3, H, W) float RGB in 0..255 by the mean and standard deviation of each channel."""
    return (frames - per_channel(mean, frames.device)).div_(per_channel(std, frames.device))


@cached_constant(maxsize=32)
def per_channel(values: Rgb, device: torch.device) -> Tensor:
    """(3, 1, 1) float32: numbers for each channel of a frame."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)


def prepare_frame(
    frame: np.ndarray | Scalable, geometry: Geometry, mean: Rgb, std: Rgb, device: torch.device
) -> Tensor:
    """RGB (H, W, 3) uint8 -> (1, 3, padded height, padded width) float32 network input; zero in the padding."""
    if not isinstance(frame, np.ndarray):
        frame = frame.scaled(*geometry.scaled)
    # As planes from the start: every later step is faster on them than with the three channels last.
    image = torch.tensor(np.ascontiguousarray(frame), device=device).permute(2, 0, 1)[None].contiguous().float()
    return pad(normalise(resize(image, geometry.scaled), mean, std), geometry.padded)


def prepare_masks(masks: np.ndarray, geometry: Geometry, device: torch.device) -> Tensor:
    """Reference masks (I, H, W) bool -> (1, I, padded height, padded width) float32, 0 or 1."""
    tensor = torch.from_numpy(np.ascontiguousarray(masks)).to(device)[None].float()
    return pad((resize(tensor, geometry.scaled) > 0.5).float(), geometry.padded)
