"""Frames in (file, folder, camera, pipe; masks and boxes to start from), results out (label PNGs, overlay video, COCO).

Names are loaded when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hodor_cli.video.box import mask_from_box, parse_box
    from hodor_cli.video.label_png import read_label_png, write_label_png
    from hodor_cli.video.masks import MaskFile, MaskInput, read_mask, read_mask_argument, read_mask_arguments
    from hodor_cli.video.palette import davis_palette
    from hodor_cli.video.picture import read_picture
    from hodor_cli.video.source import Frame, FrameSource, open_source

__all__ = [
    "Frame",
    "FrameSource",
    "MaskFile",
    "MaskInput",
    "davis_palette",
    "mask_from_box",
    "open_source",
    "parse_box",
    "read_label_png",
    "read_mask",
    "read_mask_argument",
    "read_mask_arguments",
    "read_picture",
    "write_label_png",
]

_HOMES = {
    "Frame": "source",
    "FrameSource": "source",
    "MaskFile": "masks",
    "MaskInput": "masks",
    "davis_palette": "palette",
    "mask_from_box": "box",
    "open_source": "source",
    "parse_box": "box",
    "read_label_png": "label_png",
    "read_mask": "masks",
    "read_mask_argument": "masks",
    "read_mask_arguments": "masks",
    "read_picture": "picture",
    "write_label_png": "label_png",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
