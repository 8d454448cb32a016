"""Soft masks of single frames, small enough to be kept for a whole video: what one pass tells another."""

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
    """The objects' probabilities (I, h, w) in a frame at stride 4, and the highest of a background channel (h, w).

    witnesses: {object id: (cut_off, agreement, change)}, as in `ObjectResult`; NaN stands for what is not known.
    descriptors: what `Segmenter.descriptors` gave in that frame. time: the frame's, None where it has none.
    """

    object_ids: ObjectIds
    objects: Tensor
    background: Tensor
    witnesses: Mapping[int, Sequence[float]] = field(default_factory=dict)
    descriptors: FrameDescriptors = field(default_factory=lambda: FrameDescriptors({}, None))
    time: float | None = None

    @staticmethod
    def of(object_ids: ObjectIds, logits: Tensor) -> SoftMap:
        """From logits (1, 10 + I, h, w)."""
        probabilities = logits.float().softmax(dim=1)[0]
        return SoftMap(object_ids, probabilities[NUM_NON_OBJECT:], probabilities[:NUM_NON_OBJECT].amax(dim=0))

    def pack(self) -> bytes:
        """A few KB: probabilities in 256 steps, compressed."""
        levels = torch.cat((self.objects, self.background[None])).mul(_LEVELS).round().to(torch.uint8).cpu().numpy()
        unknown = (0.0, np.nan, np.nan)
        arrays = {
            "ids": np.array(self.object_ids, np.int64),
            "shape": np.array(levels.shape),
            "maps": np.frombuffer(zlib.compress(levels.tobytes(), 1), np.uint8),
            "time": np.array(np.nan if self.time is None else self.time),
            "witnesses": np.array([self.witnesses.get(i, unknown) for i in self.object_ids], np.float64),
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
        """What `pack` gave. Raises InputError for other bytes."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                shape = tuple(int(side) for side in arrays["shape"])
                levels = np.frombuffer(zlib.decompress(arrays["maps"].tobytes()), np.uint8).reshape(shape)
                maps = torch.from_numpy(levels.copy()).to(device).float() / _LEVELS
                ids, time = ObjectIds(int(i) for i in arrays["ids"]), float(arrays["time"])
                witnesses = dict(zip(ids, arrays["witnesses"].tolist(), strict=True))
                rows = {int(i): row for i, row in zip(arrays["row_ids"], arrays["rows"], strict=True)}
                known = FrameDescriptors(rows, arrays.get("cells"))
        except Exception as error:  # damaged: any kind may come out
            raise InputError("what a backward pass left is damaged; start the run again with `overwrite`") from error
        return SoftMap(ids, maps[:-1], maps[-1], witnesses, known, None if np.isnan(time) else time)


class MapFolder(MutableMapping[int, bytes]):
    """Frame -> packed map, as files of a folder; a dict does for what fits into memory."""

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
