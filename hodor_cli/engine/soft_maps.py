"""Soft masks of single frames, which the pass backward stores for the pass forward; a few KB each."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_NON_OBJECT
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.step_result import FrameDescriptors
from hodor_cli.errors import InputError
from hodor_cli.files import replacing

_LEVELS = 255


@dataclass(frozen=True)
class SoftMap:
    """A frame's object probabilities (I, h, w) at stride 4, and the highest background channel (h, w).

    measures: {object id: (cut_off, agreement, change)}, as in `ObjectResult`; NaN if unknown. descriptors: of the
    frame, from `Segmenter.descriptors`. time: of the frame, in seconds, or None.
    """

    object_ids: ObjectIds
    objects: Tensor
    background: Tensor
    measures: Mapping[int, Sequence[float]] = field(default_factory=dict)
    descriptors: FrameDescriptors = field(default_factory=lambda: FrameDescriptors({}, None))
    time: float | None = None

    @staticmethod
    def of(object_ids: ObjectIds, logits: Tensor) -> SoftMap:
        """The soft map of logits (1, 10 + I, h, w)."""
        probabilities = logits.float().softmax(dim=1)[0]
        return SoftMap(object_ids, probabilities[NUM_NON_OBJECT:], probabilities[:NUM_NON_OBJECT].amax(dim=0))

    def pack(self) -> bytes:
        """Compress to a few KB, with probabilities in 256 steps."""
        levels = torch.cat((self.objects, self.background[None])).mul(_LEVELS).round().to(torch.uint8).cpu().numpy()
        unknown = (0.0, np.nan, np.nan)
        arrays = {
            "ids": np.array(self.object_ids, np.int64),
            "shape": np.array(levels.shape),
            "maps": np.frombuffer(zlib.compress(levels.tobytes(), 1), np.uint8),
            "time": np.array(np.nan if self.time is None else self.time),
            "measures": np.array([self.measures.get(i, unknown) for i in self.object_ids], np.float64),
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
                measures = dict(zip(ids, arrays["measures"].tolist(), strict=True))
                rows = {int(i): row for i, row in zip(arrays["row_ids"], arrays["rows"], strict=True)}
                known = FrameDescriptors(rows, arrays.get("cells"))
        except Exception as error:  # damaged data can raise any kind of exception
            raise InputError("a soft map of the pass backward is damaged; start again with `overwrite`") from error
        return SoftMap(ids, maps[:-1], maps[-1], measures, known, None if np.isnan(time) else time)


class MapFolder(MutableMapping[int, bytes]):
    """Frame -> packed map, stored as files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, frame: int) -> bytes:
        try:
            return self._file(frame).read_bytes()
        except FileNotFoundError:
            raise KeyError(frame) from None

    def __setitem__(self, frame: int, data: bytes) -> None:
        with replacing(self._file(frame)) as temporary:
            temporary.write_bytes(data)

    def __delitem__(self, frame: int) -> None:
        try:
            self._file(frame).unlink()
        except FileNotFoundError:
            raise KeyError(frame) from None

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(int(file.stem) for file in self._folder.glob("*.map") if file.stem.isdigit()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, frame: object) -> bool:
        return isinstance(frame, int) and self._file(frame).is_file()

    def _file(self, frame: int) -> Path:
        return self._folder / f"{frame:08d}.map"
