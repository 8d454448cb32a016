"""A clip with known true masks, made from freely licensed photographs, and a contact sheet of results."""

from __future__ import annotations

from demo_clip.clip import OBJECT_NAMES, ClipFiles, DemoClip, write_clip
from demo_clip.photographs import PHOTOGRAPHS, Photograph
from demo_clip.sheet import contact_sheet, save_picture

__all__ = [
    "OBJECT_NAMES",
    "PHOTOGRAPHS",
    "ClipFiles",
    "DemoClip",
    "Photograph",
    "contact_sheet",
    "save_picture",
    "write_clip",
]
