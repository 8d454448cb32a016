"""The geometry of samples: affine motions, smooth deformations, and the motion of a layer through the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]  # 3x3, maps (x, y, 1)


def fit_matrix(source: tuple[int, int], target: tuple[int, int]) -> Matrix:
    """The scaling that fits a source (height, width) into a target (height, width), centred."""
    scale = min(target[0] / source[0], target[1] / source[1])
    shift_x = (target[1] - 1) / 2 - scale * (source[1] - 1) / 2
    shift_y = (target[0] - 1) / 2 - scale * (source[0] - 1) / 2
    return np.array([[scale, 0.0, shift_x], [0.0, scale, shift_y], [0.0, 0.0, 1.0]])


def motion_matrix(
    centre: tuple[float, float],
    *,
    scale: float = 1.0,
    rotation: float = 0.0,
    shear: Sequence[float] = (0.0, 0.0),
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> Matrix:
    """Scale, shear (degrees, x and y), rotate (degrees) about `centre` (x, y), then move by `shift` (x, y) pixels."""
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    slant = np.array([[1.0, np.tan(np.deg2rad(shear[0]))], [np.tan(np.deg2rad(shear[1])), 1.0]])
    linear = scale * turn @ slant
    if mirror:
        linear = linear @ np.diag([-1.0, 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array(centre) + np.array(shift) - linear @ np.array(centre)
    return matrix


def signed(rng: np.random.Generator, bounds: tuple[float, float], strength: float = 1.0) -> float:
    """A uniform draw from the range, with a random sign."""
    return float(rng.uniform(*bounds) * (1.0 if rng.random() < 0.5 else -1.0) * strength)


def between(rng: np.random.Generator, bounds: tuple[float, float], strength: float = 1.0) -> float:
    """A factor from the range, uniform on a logarithmic scale; it approaches 1 as `strength` approaches 0."""
    low, high = np.log(max(bounds[0], 1e-3)), np.log(max(bounds[1], 1e-3))
    return float(np.exp(rng.uniform(low, high) * strength))


@dataclass(frozen=True)
class LayerMotion:
    """An affine motion followed by a smooth deformation.

    numbers: (6,), the logarithm of the scale, rotation and shear (x, y) in degrees, shift (x, y) in pixels.
    bend: (H, W, 2) pixel offsets or None.
    """

    numbers: NDArray[np.float64]
    bend: NDArray[np.float32] | None = None

    def matrix(self, centre: tuple[float, float], *, mirror: bool = False) -> Matrix:
        """The affine part, about `centre` (x, y)."""
        zoom, rotation, *shear, x, y = self.numbers.tolist()
        return motion_matrix(
            centre, scale=float(np.exp(zoom)), rotation=rotation, shear=shear, shift=(x, y), mirror=mirror
        )


class Track:
    """The motion of one layer through the frames.

    step: None draws a new motion for every frame; otherwise frame t is at `t * step` on the way from one drawn motion
    (0) to another (1).
    """

    def __init__(self, step: float | None) -> None:
        self.step = step

    def at(self, t: int, draw: Callable[[], LayerMotion]) -> LayerMotion:
        """The motion in frame t. Frame 0 starts a new track."""
        if self.step is None:
            return draw()
        if t == 0:
            self._ends = draw(), draw()
        (begin, end), share = self._ends, self.step * t
        bend = None
        if begin.bend is not None or end.bend is not None:
            bent, further = (0.0 if field is None else field for field in (begin.bend, end.bend))
            bend = np.asarray(bent + (further - bent) * share, dtype=np.float32)
        return LayerMotion(begin.numbers + (end.numbers - begin.numbers) * share, bend)


@dataclass(frozen=True)
class Warp:
    """A mapping of source pixels to target pixels, with an optional smooth deformation in the target.

    matrix: source -> target. size: (height, width) of the target. bend: (height, width, 2) float32 offsets or None.
    """

    matrix: Matrix
    size: tuple[int, int]
    bend: NDArray[np.float32] | None = None

    def apply(self, image: NDArray[Any], *, nearest: bool = False, mirrored: bool = False) -> NDArray[Any]:
        """The (h, w) or (h, w, c) image in the target. Pixels that it does not cover are 0 or, if `mirrored`, a
        reflection of the image."""
        border = cv2.BORDER_REFLECT_101 if mirrored else cv2.BORDER_CONSTANT
        matrix, source = self.matrix, image
        shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
        if shrink < 0.5 and not nearest and min(image.shape[:2]) > 8:
            # Linear sampling skips pixels when an image shrinks to less than half, so they are averaged first.
            half = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
            source = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
            ratio_x, ratio_y = half[0] / image.shape[1], half[1] / image.shape[0]
            grow = np.array(
                [[1 / ratio_x, 0.0, 0.5 / ratio_x - 0.5], [0.0, 1 / ratio_y, 0.5 / ratio_y - 0.5], [0.0, 0.0, 1.0]]
            )
            matrix = matrix @ grow
        flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        height, width = self.size
        if self.bend is None:
            out = cv2.warpAffine(source, matrix[:2], (width, height), flags=flags, borderMode=border)
        else:
            back = np.linalg.inv(matrix)[:2].astype(np.float32)
            grid_x = np.arange(width, dtype=np.float32)[None, :] + self.bend[..., 0]
            grid_y = np.arange(height, dtype=np.float32)[:, None] + self.bend[..., 1]
            map_x = back[0, 0] * grid_x + back[0, 1] * grid_y + back[0, 2]
            map_y = back[1, 0] * grid_x + back[1, 1] * grid_y + back[1, 2]
            out = cv2.remap(source, map_x, map_y, flags, borderMode=border)
        return np.asarray(out)

    def covers(self, source: tuple[int, int]) -> NDArray[np.bool_]:
        """Which pixels of the target, (height, width) bool, a source of this (height, width) covers."""
        inside = np.full(source, 255, dtype=np.uint8)
        return np.asarray(self.apply(inside, nearest=True) > 0)
