"""Soft masks of single frames, which the pass backward stores for the pass forward, a few KB each.

The pass forward joins them with its own masks per pixel, weighted by distance in time and by confidence.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.labels import label_map
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.step_result import FrameDescriptors
from hodor_cli.errors import InputError
from hodor_cli.files import replacing
from hodor_cli.runtime.preprocess import Geometry

_LEVELS = 255
#: Smaller probabilities are raised to this value before a logarithm is taken.
_LEAST = 1e-6


@dataclass(frozen=True)
class SoftMap:
    """A frame's object probabilities (I, h, w) at stride 4, and the highest background channel (h, w).

    measures: {object id: (cut_off, agreement, change)}, as in `ObjectResult`. descriptors: the frame's,
    from `Segmenter.descriptors`. time: the frame's, in seconds, or None.
    """

    object_ids: ObjectIds
    objects: Tensor
    background: Tensor
    measures: Mapping[int, tuple[float, float | None, float | None]] = field(default_factory=dict)
    descriptors: FrameDescriptors = field(default_factory=lambda: FrameDescriptors({}, None))
    time: float | None = None

    @staticmethod
    def of(object_ids: ObjectIds, logits: Tensor) -> SoftMap:
        """The soft map of logits (1, 10 + I, h, w)."""
        probabilities = logits.float().softmax(dim=1)[0]
        return SoftMap(object_ids, probabilities[NUM_NON_OBJECT:], probabilities[:NUM_NON_OBJECT].amax(dim=0))

    def joined(self, later: SoftMap, shares: Mapping[int, float]) -> tuple[SoftMap, dict[int, float]]:
        """Join this soft map, of the pass forward, with the one of the pass backward.

        Args:
            later: the soft map of the pass backward, which may have other objects.
            shares: weight (0..1) of the pass backward for each object of both: 0 at the earlier mask and 1 at the later
                one, so that the joined masks change into the given ones without a jump.
        Returns:
            The soft map of all objects, and the disagreement (0..1) for each object of both passes.
        """
        ids = self.object_ids.adding(later.object_ids)
        parts, disagreement = [], {}
        for object_id in ids:
            ways = [way.objects[way.object_ids.row(object_id)] for way in (self, later) if object_id in way.object_ids]
            if len(ways) == 2:
                union = torch.maximum(*ways).sum().clamp(min=1e-6)
                disagreement[object_id] = 1 - float(torch.minimum(*ways).sum() / union)
                parts.append(_mixed(ways[0], ways[1], shares[object_id]))
            else:
                parts.append(ways[0])
        objects = torch.stack(parts)
        # `background` is the highest background channel; its share of all background is averaged over both passes.
        outside = (1 - self.objects.sum(dim=0)) + (1 - later.objects.sum(dim=0))
        highest = (self.background + later.background) / outside.clamp(min=1e-4)
        background = (1 - objects.sum(dim=0)).clamp(min=0) * highest.clamp(max=1)
        measures = {**later.measures, **self.measures}
        return SoftMap(ids, objects, background, measures, self.descriptors, self.time), disagreement

    def labels(self, geometry: Geometry) -> tuple[np.ndarray, dict[int, float]]:
        """The label map (H, W) at the frame's own size, and each object's confidence."""
        rest = 1 - self.objects.sum(dim=0) - self.background
        channels = torch.cat((rest[None], self.background[None], self.objects)).clamp(min=_LEAST).log()[None]
        # The first channel is the sum of the lower background channels, none of which can be the likeliest.
        return label_map(channels, geometry, list(self.object_ids), background=1, others=1)

    def logits(self, object_ids: Iterable[int], like: Tensor) -> Tensor:
        """Logits (1, 10 + I, h, w) whose softmax returns these objects' probabilities; the ten other channels share the
        rest in the same proportions as in the logits `like`."""
        own = self.objects[self.object_ids.rows(object_ids)]
        rest = (1 - own.sum(dim=0, keepdim=True)).clamp(min=_LEAST).log()
        background = like[0, :NUM_NON_OBJECT].float().log_softmax(dim=0) + rest
        return torch.cat((background, own.clamp(min=_LEAST).log()))[None]

    def pack(self) -> bytes:
        """Compress to a few KB; probabilities are rounded to 256 steps."""
        levels = torch.cat((self.objects, self.background[None])).mul(_LEVELS).round().to(torch.uint8).cpu().numpy()
        arrays = {
            "ids": np.array(self.object_ids, np.int64),
            "shape": np.array(levels.shape),
            "maps": np.frombuffer(zlib.compress(levels.tobytes(), 1), np.uint8),
            "time": np.array(np.nan if self.time is None else self.time),
            "measures": np.array([self.measures.get(i, (0.0, None, None)) for i in self.object_ids], np.float64),
            "rows": np.array(list(self.descriptors.objects.values()), np.float32),
            "row_ids": np.array(list(self.descriptors.objects), np.int64),
        }
        if self.descriptors.background is not None:
            arrays["cells"] = self.descriptors.background
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @staticmethod
    def unpack(data: bytes, device: torch.device) -> SoftMap:
        """Restore the soft map from the result of `pack`. Raises InputError for other bytes."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                shape = tuple(int(side) for side in arrays["shape"])
                levels = np.frombuffer(zlib.decompress(arrays["maps"].tobytes()), np.uint8).reshape(shape)
                maps = torch.from_numpy(levels.copy()).to(device).float() / _LEVELS
                ids, time = ObjectIds(int(i) for i in arrays["ids"]), float(arrays["time"])
                measures = {
                    key: (cut_off, *(None if np.isnan(value) else value for value in others))
                    for key, (cut_off, *others) in zip(ids, arrays["measures"].tolist(), strict=True)
                }
                rows = {int(i): row for i, row in zip(arrays["row_ids"], arrays["rows"], strict=True)}
                known = FrameDescriptors(rows, arrays.get("cells"))
        except Exception as error:  # damaged data can raise any kind of exception
            raise InputError("a soft map of the pass backward is damaged; start over with `overwrite`") from error
        return SoftMap(ids, maps[:-1], maps[-1], measures, known, None if np.isnan(time) else time)


class MapFolder:
    """Frame -> packed map, like a dictionary but stored as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, frame: int) -> bytes:
        return self._file(frame).read_bytes()

    def __setitem__(self, frame: int, data: bytes) -> None:
        with replacing(self._file(frame)) as temporary:
            temporary.write_bytes(data)

    def __contains__(self, frame: int) -> bool:
        return self._file(frame).is_file()

    def _file(self, frame: int) -> Path:
        return self._folder / f"{frame:08d}.map"


#: Frame -> packed map, in memory or in files.
PackedMaps = dict[int, bytes] | MapFolder


def _mixed(forward: Tensor, backward: Tensor, share: float) -> Tensor:
    """The mean of two probabilities, weighted by nearness in time and, per pixel, by their distance from 0.5."""
    before = (1 - share) * (2 * forward - 1).abs().clamp(min=1e-3)
    after = share * (2 * backward - 1).abs().clamp(min=1e-3)
    return (before * forward + after * backward) / (before + after)
