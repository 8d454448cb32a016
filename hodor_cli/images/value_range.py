"""Scales pictures with more than 8 bits to 8 bits, by the values that they contain, not by the range of their type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import UsageError
from hodor_cli.images.spacing import evenly_spaced

#: Highest values that programs and cameras use: those of 8, 10, 12, 14 and 16 bits; in float pictures also 1.
_INTEGER_TOPS = (255, 1023, 4095, 16383, 65535)
_FLOAT_TOPS = (1, 255, 65535)
#: Percentiles taken as the darkest and the brightest value, so that dead and hot pixels do not count.
_PERCENTILES = (0.1, 99.9)
_MOST_VALUES = 1 << 20  # sampled from one picture
_MEASURED = 9  # pictures of a source that are measured


def measured_places(count: int) -> list[int]:
    """Indices of the pictures, out of `count` in a source, whose range is measured: at most nine, evenly spaced."""
    return evenly_spaced(count, _MEASURED).tolist()


class ValueRange(NamedTuple):
    """The values that become 0 and 255."""

    low: float
    high: float

    @staticmethod
    def of(given: Iterable[float]) -> ValueRange:
        """The range that a caller gave. Raises UsageError for anything but two numbers."""
        try:
            low, high = map(float, given)
        except (TypeError, ValueError):
            raise UsageError(f"`value_range` must be two numbers, those of black and white, not {given!r}") from None
        return ValueRange(low, high)


def measure_range(pictures: Sequence[NDArray[Any]], warn: Callable[[str], None] | None = None) -> ValueRange:
    """Measure one range for the pictures of a source, each (H, W) or (H, W, C) integers or floats.

    The range is 0 to the smallest usual maximum (10 bits, 12 bits, ...) that covers the values, so that brightness is
    comparable between sources. If the values fill less than a quarter of that, as with a thermal camera, the range is
    their 0.1 to 99.9 percentile. warn: called with a sentence that states the range, unless it is the type's own, and
    with one if floats and integers are mixed.
    """
    flat = [picture.reshape(-1) for picture in pictures]
    samples = [values[:: max(1, len(values) // _MOST_VALUES)].astype(np.float64) for values in flat]
    values = np.concatenate([sample[np.isfinite(sample)] for sample in samples] or [np.zeros(0)])
    kinds = {picture.dtype.kind == "f" for picture in pictures}
    floats = True in kinds
    if warn is not None and len(kinds) == 2:
        warn("some pictures have float and others integer values, for which one range is used; save all of them alike")
    tops = _FLOAT_TOPS if floats else _INTEGER_TOPS
    if not len(values):
        return ValueRange(0.0, 1.0 if floats else 65535.0)
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    top = next((top for top in tops if high <= top), None)
    if top is not None and low >= 0 and high - low >= top / 4:
        low, high = 0.0, float(top)
    elif high <= low:  # one value everywhere
        low, high = min(low, 0.0), max(low, float(tops[0]))
    if warn is not None and (low, high) not in ((0, 65535), (0, 1)):
        warn(f"{'float' if floats else '16-bit'} values are scaled so that {low:g} becomes black and {high:g} white")
    return ValueRange(low, high)


def scale_to_rgb8(values: NDArray[Any], value_range: ValueRange) -> NDArray[np.uint8]:
    """Scale (H, W) or (H, W, 3) values to (H, W, 3) uint8 RGB; values outside the range are clipped, NaN becomes 0."""
    share = (values.astype(np.float64) - value_range.low) / (value_range.high - value_range.low)
    scaled = np.nan_to_num(share * 255, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).round().astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2) if scaled.ndim == 2 else scaled
