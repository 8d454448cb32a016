"""Objects drawn over frames: translucent colours, outlines and, if wanted, the object ids.

The picture depends on nothing but the arguments, so that a frame drawn again after an interruption is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.images.label_png import davis_palette

#: Share of the object's colour in a covered pixel.
DEFAULT_OPACITY = 0.5
# Paint whose mean difference per channel from the picture is smaller is hardly visible.
_ALIKE = 62


def object_colours(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The RGB colours of object ids, (..., 3): the DAVIS palette, repeated after its 255 colours."""
    ids = np.asarray(ids, dtype=np.int64)
    return davis_palette()[np.where(ids > 0, (ids - 1) % 255 + 1, 0)]


def draw_overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    *,
    opacity: float = DEFAULT_OPACITY,
    outline: bool = True,
    ids: bool = False,
) -> NDArray[np.uint8]:
    """Return a copy of `image` (H, W, 3) RGB uint8 with the objects of the (H, W) label map drawn over it.

    `opacity` is the share 0..1 of the object's colour in its pixels; `outline` draws an edge inside the object in a
    brighter shade of its colour, wider in larger frames; `ids` writes each object's number at its middle. A pixel that
    has nearly the colour of the paint gets another shade of it, so that red paint is visible on a red object. Pixels
    without an object do not change. Raises ValueError if the two have different sizes.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image is {image.shape[1]}x{image.shape[0]}, labels {labels.shape[1]}x{labels.shape[0]}")
    result = image.copy()
    window = _bounding_window(labels)
    if window is None:
        return result
    import cv2

    # OpenCV is three times as fast here as NumPy's indexing.
    part, picture = np.ascontiguousarray(labels[window]), np.ascontiguousarray(result[window])
    colours = _paint(picture, part)
    mixed: Any = cv2.addWeighted(picture, 1 - opacity, colours, opacity, 0)
    if outline:
        edge = inner_edge(part, thickness=max(1, round(min(labels.shape) / 300)))
        cv2.copyTo(_colour_picture(part, outline_palette()), edge.view(np.uint8), mixed)
    cv2.copyTo(mixed, (part != 0).view(np.uint8), picture)
    if ids:
        _write_ids(picture, part, height=labels.shape[0])
    result[window] = picture
    return result


def inner_edge(labels: NDArray[np.uint16], thickness: int = 1) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels of objects within `thickness` pixels of another label; the border is no edge."""
    import cv2

    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), dtype=np.uint8)
    lowest = cv2.erode(labels, kernel, borderType=cv2.BORDER_REPLICATE)
    highest = cv2.dilate(labels, kernel, borderType=cv2.BORDER_REPLICATE)
    edge: NDArray[np.bool_] = (labels != 0) & (lowest != highest)
    return edge


def outline_palette() -> NDArray[np.uint8]:
    """(256, 3) RGB: the palette's colours at full brightness, which are visible on dark objects too."""
    palette = davis_palette().astype(np.float64)
    brightest = np.maximum(palette.max(axis=1, keepdims=True), 1)
    return np.round(palette * 255 / brightest).astype(np.uint8)


def _paint(picture: NDArray[np.uint8], labels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB paint that differs from the picture: the palette's colour, or another shade if that is too similar.

    It depends on the pixel alone, so that an object's colour does not flicker from frame to frame.
    """
    import cv2

    colours = _colour_picture(labels, davis_palette())
    shades = _colour_picture(labels, _other_shades())
    mean = np.full((1, 3), 1 / 3, np.float32)
    own, other = (cv2.transform(cv2.absdiff(picture, paint), mean) for paint in (colours, shades))
    better = (own < _ALIKE) & (other > own)
    return np.asarray(cv2.copyTo(shades, better.view(np.uint8), colours), dtype=np.uint8)


def _other_shades() -> NDArray[np.uint8]:
    """(256, 3) RGB: a pale shade of each dark colour of the palette, a dark shade of each pale one."""
    palette = davis_palette()
    dark = palette.astype(np.float64).mean(axis=1, keepdims=True) < 120
    return np.where(dark, outline_palette() // 2 + 127, palette // 4).astype(np.uint8)


def _colour_picture(labels: NDArray[np.uint16], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a label map: `object_colours` for a whole picture and any palette."""
    import cv2

    rows = labels if labels.max() < 256 else np.where(labels > 0, (labels - 1) % 255 + 1, 0)
    rows = rows.astype(np.uint8)
    table = np.ascontiguousarray(palette.reshape(1, 256, 3))
    return np.asarray(cv2.LUT(cv2.merge([rows, rows, rows]), table), dtype=np.uint8)


def _bounding_window(labels: NDArray[np.uint16]) -> tuple[slice, slice] | None:
    """The smallest window with every object and one pixel around it; None for an empty frame."""
    rows = np.flatnonzero(labels.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(labels[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)


def _write_ids(picture: NDArray[np.uint8], labels: NDArray[np.uint16], height: int) -> None:
    """Write each object's id, white on black, at the innermost point of the object, in place."""
    import cv2

    scale = max(0.35, height / 900)
    stroke = max(1, round(scale * 1.8))
    for object_id in np.unique(labels[labels != 0]).tolist():
        depth = cv2.distanceTransform(np.pad(labels == object_id, 1).astype(np.uint8), cv2.DIST_L2, 3)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        text = str(object_id)
        (width, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        # The text stays inside the picture even where the object is smaller than its number.
        left = min(max(0, int(column) - 1 - width // 2), max(0, picture.shape[1] - width))
        bottom = min(max(tall, int(row) - 1 + tall // 2), picture.shape[0] - 1)
        for colour, wide in (((0, 0, 0), stroke + 2), ((255, 255, 255), stroke)):
            cv2.putText(picture, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, wide, cv2.LINE_AA)
