"""HTML from template files; all values are escaped."""

from __future__ import annotations

import base64
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_JPEG_QUALITY = 82


def render(package: str, template: str, **values: Any) -> str:
    """Render a template file of a package. Templates have the filters `percent`, `speed` and `data_uri`."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "speed": speed, "data_uri": data_uri}
    source = resources.files(package).joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def data_uri(picture: NDArray[np.uint8]) -> str:
    """An (H, W, 3) RGB picture as the data URI of a JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture, _JPEG_QUALITY)).decode()


def jpeg_bytes(picture: NDArray[np.uint8], quality: int, *options: int) -> bytes:
    """An (H, W, 3) RGB picture as a JPEG file. quality: 0..100; options: more OpenCV options, each with its value."""
    import cv2
    import numpy as np

    bgr = np.ascontiguousarray(picture[..., ::-1])
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])[1])


def percent(value: float) -> str:
    """A share (0..1) in per cent with one decimal; a dash for NaN."""
    return "-" if value != value else f"{100 * value:.1f}"


def speed(value: float | None) -> str:
    """Frames per second with one decimal; a dash if unknown."""
    return "-" if value is None else f"{value:.1f}"
