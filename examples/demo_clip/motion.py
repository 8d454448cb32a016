"""Where the demo's camera, cup and astronaut are at each moment, as smooth functions of time."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Position (x, y) of an object's centre in the frame in pixels, its scale, turn and foreshortening."""

    x: float
    y: float
    scale: float
    degrees: float = 0.0
    squash: float = 1.0

    def matrix(self, centre: tuple[float, float]) -> np.ndarray:
        """(2, 3) affine map from the photograph's pixels to the frame's."""
        c, s = cos(radians(self.degrees)), sin(radians(self.degrees))
        linear = self.scale * np.array([[c, -s], [s, c]]) @ np.diag([1.0, self.squash])
        return np.column_stack([linear, np.array([self.x, self.y]) - linear @ np.array(centre)])


def _between(time: float, *points: tuple[float, float]) -> float:
    """Value at `time` on the smooth curve through (time, value) points."""
    times, values = zip(*points, strict=True)
    after = int(np.clip(np.searchsorted(times, time), 1, len(times) - 1))
    share = (time - times[after - 1]) / (times[after] - times[after - 1])
    share = (1 - cos(pi * min(1.0, max(0.0, share)))) / 2
    return values[after - 1] + share * (values[after] - values[after - 1])


def camera(time: float) -> Pose:
    """The background photograph (its centre): pans, comes closer, and shakes a little. `time` runs from 0 to 1."""
    shake_x, shake_y = 3 * sin(2 * pi * 5.3 * time), 2 * sin(2 * pi * 7.1 * time + 1)
    return Pose(
        x=_between(time, (0, 480), (1, 372)) + shake_x,
        y=_between(time, (0, 205), (1, 168)) + shake_y,
        scale=_between(time, (0, 1.55), (1, 1.78)),
        degrees=1.2 * sin(2 * pi * 0.8 * time),
    )


def cup(time: float) -> Pose:
    """The cup: comes from the left, passes behind the astronaut's head to the right, turning and changing size."""
    return Pose(
        x=_between(time, (0, 150), (0.3, 300), (0.72, 740), (1, 700)),
        y=_between(time, (0, 310), (0.3, 150), (0.72, 175), (1, 330)),
        scale=_between(time, (0, 0.42), (0.3, 0.66), (0.62, 0.5), (1, 0.62)),
        degrees=_between(time, (0, -22), (0.35, 14), (0.65, -6), (1, 30)),
        squash=1 - 0.14 * sin(pi * time) ** 2,
    )


def astronaut(time: float) -> Pose:
    """The astronaut: stands in front of the cup's path, sways, and comes a little closer."""
    return Pose(
        x=_between(time, (0, 560), (0.5, 505), (1, 440)) + 3 * sin(2 * pi * 2 * time),
        y=_between(time, (0, 430), (0.5, 415), (1, 425)),
        scale=_between(time, (0, 0.80), (1, 0.92)),
        degrees=3.5 * sin(2 * pi * 1.1 * time),
    )


def brightness(time: float) -> float:
    """Factor for all pixels: the light falls and rises by about a tenth."""
    return 1.0 + 0.09 * sin(2 * pi * (0.7 * time + 0.1))
