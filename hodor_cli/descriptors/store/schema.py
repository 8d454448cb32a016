"""The layout of a descriptor file: names, versions, and the plain records that are written and read.

/                         attributes: format, format_version, model_fingerprint, model_name, channels
/videos/NAME/             attributes: see `VideoInfo`
    descriptor            (N, C) float32, one row per object and frame
    frame, object_id      (N,) int32; frames count from 0 in the source
    box                   (N, 4) int32: x, y, width, height in pixels of the source
    area                  (N,) int64 pixels
    confidence            (N,) float32 in 0..1; 1 where the mask was given
    time                  (N,) float64, optional: seconds from the start of the source, only for videos
    background            (F, 9, C) float32 and background_frame (F,) int32
    baseline              (N, B) float32, optional: mean of the feature map inside the mask
    thumbnail             (N,) variable-length uint8, optional: the object's crop as a JPEG file
    image_name, category  (N,) text, only for still images
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from hodor_cli.config import NUM_BACKGROUND

FORMAT_NAME = "hodor-descriptors"
FORMAT_VERSION = 1
#: Each data set's type ("bytes" and "text" are of variable length) and the shape of a row: "C" is the store's number
#: of channels, None any number.
DATASETS: dict[str, tuple[Any, ...]] = {
    "descriptor": ("float32", "C"),
    "frame": ("int32",),
    "object_id": ("int32",),
    "box": ("int32", 4),
    "area": ("int64",),
    "confidence": ("float32",),
    "time": ("float64",),
    "background": ("float32", NUM_BACKGROUND, "C"),
    "background_frame": ("int32",),
    "baseline": ("float32", None),
    "thumbnail": ("bytes",),
    "image_name": ("text",),
    "category": ("text",),
}
#: The data sets that a row need not have; the first row of a video decides.
OPTIONAL = ("time", "baseline", "thumbnail", "image_name", "category")


@dataclass(frozen=True)
class StoreInfo:
    """The root's attributes. `model_fingerprint` is fixed for the life of the file."""

    model_fingerprint: str
    channels: Annotated[int, Meta(ge=1, le=1 << 16)]
    model_name: str = ""

    def same_model(self, other: StoreInfo) -> bool:
        """Whether descriptors of both can be in one file."""
        return (self.model_fingerprint, self.channels) == (other.model_fingerprint, other.channels)


@dataclass(frozen=True)
class VideoInfo:
    """The attributes of one video. Sizes in pixels (0 where frames differ in size), `fps` 0 for stills.

    `content_hash` covers the pixels and masks that were read, `settings` everything else that changes the numbers;
    together they decide whether a video already present can be skipped. `result` is where the masks came from (a
    folder, a file or a result folder): another result of the same video does not replace this one.
    """

    name: str
    source: str
    height: Annotated[int, Meta(ge=0, le=1 << 20)]
    width: Annotated[int, Meta(ge=0, le=1 << 20)]
    fps: Annotated[float, Meta(ge=0, le=1e6)]
    content_hash: str = ""
    model_fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    kind: str = "video"
    result: str = ""

    def attributes(self) -> dict[str, Any]:
        """The fields as HDF5 attributes (`settings` as JSON text)."""
        values = {key: value for key, value in vars(self).items() if key != "name"}
        return {**values, "settings": json.dumps(self.settings, sort_keys=True)}

    def same_export(self, other: VideoInfo) -> bool:
        """True if `other` was made from the same content with the same settings and model."""
        mine, theirs = self.attributes(), other.attributes()
        return all(mine[key] == theirs[key] for key in ("content_hash", "model_fingerprint", "settings"))


@dataclass(frozen=True)
class ObjectRow:
    """One object in one frame, as written to the file."""

    object_id: int
    descriptor: np.ndarray  # (C,) float32
    box: tuple[int, int, int, int]
    area: int
    confidence: float = 1.0
    baseline: np.ndarray | None = None  # (B,) float32
    thumbnail: bytes | None = None  # a JPEG file
    image_name: str | None = None
    category: str | None = None
    time: float | None = None  # seconds from the start of the source


@dataclass(frozen=True)
class VideoRows:
    """All rows of one video (or of one of its objects), as read from the file; shapes as in the module's docstring."""

    info: VideoInfo
    descriptor: np.ndarray
    frame: np.ndarray
    object_id: np.ndarray
    box: np.ndarray
    area: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, rows: np.ndarray) -> VideoRows:
        """The rows that a boolean mask or an index array picks, in that order."""
        arrays = (getattr(self, one.name)[rows] for one in fields(self) if one.name != "info")
        return VideoRows(self.info, *arrays)


@dataclass(frozen=True)
class RowIndex:
    """The video, object and frame of each of a store's N rows, without descriptors; rows in the order of `videos`."""

    videos: tuple[str, ...]
    video: np.ndarray  # (N,) int32 index into `videos`
    object_id: np.ndarray  # (N,) int32
    frame: np.ndarray  # (N,) int32
    seconds: np.ndarray  # (N,) float64 from the start of the source, NaN for stills

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def instance(self) -> np.ndarray:
        """(N,) int64, equal for two rows exactly if they show the same object id of the same video."""
        keys = self.video.astype(np.int64) << 32 | self.object_id.astype(np.int64)
        return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def time(self, row: int) -> float | None:
        """Seconds from the start of the source, None for stills."""
        seconds = float(self.seconds[row])
        return None if math.isnan(seconds) else seconds
