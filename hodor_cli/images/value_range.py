"""Pictures of more than 8 bits as 8-bit pictures, scaled by the values they hold, not by the range of their type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Highest values that programs and cameras use: of 8, 10, 12, 14 and 16 bits; in float pictures also 1.
_INTEGER_TOPS = (255, 1023, 4095, 16383, 65535)
_FLOAT_TOPS = (1, 255, 65535)
#: Percentiles taken as the darkest and the brightest value, so that dead and hot pixels do not count.
_PERCENTILES = (0.1, 99.9)
_MOST_VALUES = 1 << 20  # sampled from one picture


@dataclass(frozen=True)
class ValueRange:
    """The values that become 0 and 255. `of` names the type of the measured pictures, empty for a given range."""

    low: float
    high: float
    of: str = ""

    def describe(self) -> str:
        """A sentence that states the range; empty for a given range and for the whole range of the type."""
        if not self.of or (self.low, self.high) in ((0, 65535), (0, 1)):
            return ""
        return f"{self.of} values are scaled so that {self.low:g} becomes black and {self.high:g} white"


def measure_range(pictures: Sequence[NDArray[Any]]) -> ValueRange:
    """Measure one range for the pictures of a source, each (H, W) or (H, W, C) integers or floats.

    The range is 0 to the smallest usual maximum (10 bits, 12 bits, ...) that covers the values, so that brightness is
    comparable between sources. If the values fill less than a quarter of it, as those of a thermal camera do, the range
    is from their 0.1 to their 99.9 percentile.
    """
    flat = [picture.reshape(-1) for picture in pictures]
    samples = [values[:: max(1, len(values) // _MOST_VALUES)].astype(np.float64) for values in flat]
    values = np.concatenate([sample[np.isfinite(sample)] for sample in samples] or [np.zeros(0)])
    floats = any(picture.dtype.kind == "f" for picture in pictures)
    name = "float" if floats else "16-bit"
    if not len(values):
        return ValueRange(0.0, 1.0 if floats else 65535.0, name)
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    top = next((top for top in (_FLOAT_TOPS if floats else _INTEGER_TOPS) if high <= top), None)
    if top is not None and low >= 0 and high - low >= top / 4:
        return ValueRange(0.0, float(top), name)
    if high <= low:  # one value everywhere
        return ValueRange(min(low, 0.0), max(low, float(_FLOAT_TOPS[0] if floats else _INTEGER_TOPS[0])), name)
    return ValueRange(low, high, name)


def scale_to_rgb8(values: NDArray[Any], value_range: ValueRange) -> NDArray[np.uint8]:
    """Scale (H, W) or (H, W, 3) values to (H, W, 3) uint8 RGB; values outside the range are clipped, NaN becomes 0."""
    share = (values.astype(np.float64) - value_range.low) / (value_range.high - value_range.low)
    scaled = np.nan_to_num(share * 255, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).round().astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2) if scaled.ndim == 2 else scaled
