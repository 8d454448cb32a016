"""What changes the pictures of a sequence: affine motions, smooth deformations, colours, and the picture quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.settings import AugmentSettings

Matrix = NDArray[np.float64]  # 3x3, maps (x, y, 1)


def fit_matrix(source: tuple[int, int], target: tuple[int, int]) -> Matrix:
    """The scaling that shows all of a (height, width) source, centred, in a target of that size."""
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
    """A draw from the range, in either direction."""
    return float(rng.uniform(*bounds) * (1.0 if rng.random() < 0.5 else -1.0) * strength)


def between(rng: np.random.Generator, bounds: tuple[float, float], strength: float = 1.0) -> float:
    """A factor from the range, evenly on the logarithmic scale, pulled to 1 as `strength` goes to 0."""
    low, high = np.log(max(bounds[0], 1e-3)), np.log(max(bounds[1], 1e-3))
    return float(np.exp(rng.uniform(low, high) * strength))


@dataclass(frozen=True)
class LayerMotion:
    """How something is moved.

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

    step: None draws every frame anew; otherwise frame t lies t steps along the way from one draw towards another.
    """

    def __init__(self, step: float | None) -> None:
        self.step = step

    def at(self, t: int, draw: Callable[[], LayerMotion]) -> LayerMotion:
        """The motion in frame t. Asking for frame 0 begins a new track."""
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
        """The (h, w) or (h, w, c) image in the target. What it does not cover is 0, or the image again, mirrored."""
        import cv2

        border = cv2.BORDER_REFLECT_101 if mirrored else cv2.BORDER_CONSTANT
        matrix, source = self.matrix, image
        shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
        if shrink < 0.5 and not nearest and min(image.shape[:2]) > 8:
            # Linear sampling skips pixels when it shrinks by more than two: average them first.
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
        """(height, width) bool: where a (height, width) source lies in the target."""
        inside = np.full(source, 255, dtype=np.uint8)
        return np.asarray(self.apply(inside, nearest=True) > 0)


@dataclass(frozen=True)
class ColourChange:
    """One colour change: channel gains, contrast about mid-grey, brightness, hue (of the circle), saturation."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    brightness: float = 1.0
    hue: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The (H, W, 3) uint8 RGB image, changed."""
        import cv2

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
    """The colours and the picture quality of a sequence: one colour change for all of it, others for its frames."""

    def __init__(self, rng: np.random.Generator, settings: AugmentSettings) -> None:
        self._rng, self._settings = rng, settings
        self._tint = shared_colour(rng, settings)
        self._colour = frame_colour(rng, settings)

    def apply(self, t: int, image: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Frame t (H, W, 3), changed, and black where it is not valid (H, W)."""
        if self._tint is not None:
            image = self._tint.apply(image)
        if t and self._settings.colour_each_frame:
            self._colour = frame_colour(self._rng, self._settings)
        image = degrade(self._colour.apply(image), self._rng, self._settings)
        image[~valid] = 0
        return image


def degrade(image: NDArray[np.uint8], rng: np.random.Generator, settings: AugmentSettings) -> NDArray[np.uint8]:
    """What a camera does to one (H, W, 3) frame: defocus or motion blur, a lower resolution, JPEG blocks."""
    import cv2

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
            out = cv2.imdecode(data, cv2.IMREAD_COLOR)  # both ways without swapping the channels
    return np.asarray(out, dtype=np.uint8)
