"""Everything that a segmenter remembers between frames, also as arrays, so that a run can stop and be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_BACKGROUND, ModelConfig
from hodor_cli.engine.evidence import GivenLook
from hodor_cli.engine.history import HistoryEntry, HistoryRing
from hodor_cli.engine.masks import check_object_id
from hodor_cli.engine.matching_memory import MatchingMemory
from hodor_cli.engine.motion import Motion
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.engine.region import WholeFrame
from hodor_cli.engine.stored_frame import StoredFrame
from hodor_cli.errors import InputError
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import Matcher
from hodor_cli.model.region import Region
from hodor_cli.runtime.preprocess import Geometry

STATE_VERSION = 7

Part = TypeVar("Part", HistoryEntry, StoredFrame, GivenLook, WholeFrame)


@dataclass
class Followed:
    """What is known about the objects that are followed.

    ring: their descriptors. memory: keys and masks for matching. motion: how they move. looks: their descriptors when
    their masks were given. whole: for decoding regions, see `WholeFrame`.
    """

    ring: HistoryRing
    ids: ObjectIds = field(default_factory=ObjectIds)
    memory: MatchingMemory = field(default_factory=MatchingMemory)
    motion: Motion = field(default_factory=Motion)
    looks: dict[int, GivenLook] = field(default_factory=dict)
    whole: WholeFrame | None = None

    def start_from(
        self, objects: Mapping[int, np.ndarray], background: np.ndarray | None, model: Hodor, device: torch.device
    ) -> None:
        """Follow only objects given by one (D,) or several (K, D) descriptors each; see `Segmenter.start_from`."""
        channels = model.config.descriptor_channels
        for key in objects:
            check_object_id(key, "among the descriptors")
        rows = {int(key): _floats(values, ndmin=2) for key, values in objects.items()}
        for object_id, values in rows.items():
            if values.ndim != 2 or not len(values) or not values.isfinite().all():
                raise InputError(
                    f"the descriptors of object {object_id} must be (D,) or (K, D) finite numbers, with K of 1 or more;"
                    " read them from a descriptor file"
                )
            if values.shape[1] != channels:
                raise InputError(
                    f"the descriptor of object {object_id} has {values.shape[1]} channels and the model needs"
                    f" {channels}; export it again with these weights"
                )
        scene = None if background is None else _floats(background)
        if scene is not None and (scene.shape != (NUM_BACKGROUND, channels) or not scene.isfinite().all()):
            raise InputError(
                f"the background descriptors are {tuple(scene.shape)} and must be ({NUM_BACKGROUND}, {channels}) finite"
                " numbers; export them again with these weights"
            )
        self.ids, pinned, on_device = ObjectIds(rows), [], None if scene is None else scene.to(device)
        for k in range(max(len(values) for values in rows.values())):
            ids = ObjectIds(object_id for object_id, values in rows.items() if k < len(values))
            known = torch.stack([rows[object_id][k] for object_id in ids]).to(device)
            pinned.append(HistoryEntry(-1, ids, model.without_place(known), on_device))
        self.ring.pinned = pinned
        self.looks = {key: GivenLook.of(values.mean(dim=0), scene) for key, values in rows.items()}

    def copy(self) -> Followed:
        """A copy whose parts can be updated independently: they replace what they hold and never modify it in place."""
        return replace(self, ring=copy(self.ring), memory=copy(self.memory), motion=copy(self.motion))

    def forget(self, object_id: int) -> None:
        """Forget everything about an object except its id."""
        self.ring.forget(object_id)
        self.memory.forget(object_id)
        self.motion.forget(object_id)
        self.looks = {key: look for key, look in self.looks.items() if key != object_id}

    def remove(self, object_id: int) -> None:
        """Stop following an object."""
        self.ids = self.ids.without(object_id)
        self.forget(object_id)
        self.whole = None  # an object with this id may start in another scene

    def resize(self, old: Geometry, new: Geometry, matcher: Matcher | None) -> None:
        """Continue at another working resolution. Descriptors do not depend on it."""
        self.memory = self.memory.resized(old, new, matcher)
        self.motion = self.motion.scaled(new.scaled[0] / old.scaled[0])
        self.whole = None

    def region_ahead(self, matcher: Matcher) -> Region | None:
        """The part of the frame after the next in which objects will be looked for, or more; None for all of it."""
        if self.whole is None or self.memory.previous is None:
            return None
        masks = self.memory.previous.masks_of(self.ids)[0]
        return self.whole.region_ahead(self.ids, masks, self.motion.radii(self.ids, matcher.spread, None))

    def pack(self) -> dict[str, np.ndarray]:
        """The object as arrays that `np.savez` can write. They are copies, independent of later steps."""
        parts: dict[str, HistoryEntry | StoredFrame | GivenLook | WholeFrame | None] = {
            **{f"pinned/{k}": entry for k, entry in enumerate(self.ring.pinned)},
            **{f"history/{k}": entry for k, entry in enumerate(self.ring.entries)},
            **{f"matching/reference/{k}": frame for k, frame in enumerate(self.memory.references)},
            **{f"given/{object_id}": look for object_id, look in self.looks.items()},
            "matching/previous": self.memory.previous,
            "matching/recent": self.memory.recent,
            "whole": self.whole,
        }
        arrays = {"object_ids": np.array(self.ids, dtype=np.int64), **self.motion.pack()}
        arrays |= {"matching/age": np.array(self.memory.age)} if self.memory.age else {}
        for prefix, part in parts.items():
            if part is not None:
                arrays |= _pack(prefix, part)
        return arrays

    @staticmethod
    def unpack(arrays: Mapping[str, np.ndarray], history: int, device: torch.device, *, matching: bool) -> Followed:
        """The object that `pack` returned as arrays; without `matching`, its frames for matching are left out."""
        followed = Followed(HistoryRing(history), ObjectIds(arrays["object_ids"].tolist()))
        followed.ring.pinned = list(_unpack_all(HistoryEntry, arrays, "pinned", device))
        followed.ring.entries = list(_unpack_all(HistoryEntry, arrays, "history", device))
        if matching:
            memory = followed.memory
            memory.age = int(arrays.get("matching/age", 0))
            for name in ("previous", "recent"):
                if f"matching/{name}/object_ids" in arrays:
                    setattr(memory, name, _unpack(StoredFrame, arrays, f"matching/{name}", device))
            memory.references = list(_unpack_all(StoredFrame, arrays, "matching/reference", device))
            if "whole/object_ids" in arrays:
                followed.whole = _unpack(WholeFrame, arrays, "whole", device)
        followed.motion, cpu = Motion.unpack(arrays), torch.device("cpu")
        looks = [name.split("/")[1] for name in arrays if name.startswith("given/") and name.endswith("/unit")]
        followed.looks = {int(key): _unpack(GivenLook, arrays, f"given/{key}", cpu) for key in looks}
        return followed


class Watch(Protocol):
    """Something that watches what a segmenter finds, and whose state is saved with the segmenter's."""

    def state(self) -> dict[str, np.ndarray]: ...
    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None: ...


class Watches(dict[str, Watch]):
    """Watches by name, whose states are packed as arrays `watch/NAME/KEY`."""

    def pack(self) -> dict[str, np.ndarray]:
        return {f"watch/{name}/{key}": array for name, watch in self.items() for key, array in watch.state().items()}

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of `pack`; a watch that it does not have stays as it is."""
        for name, watch in self.items():
            prefix = f"watch/{name}/"
            if own := {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}:
                watch.load_state(own)


def _floats(values: Any, ndmin: int = 0) -> Tensor:
    """Values as float32; not a number if they are no numbers at all."""
    if isinstance(values, Tensor):  # NumPy takes none that has a gradient or is on a GPU
        values = values.detach().cpu()
    try:
        return torch.from_numpy(np.array(values, np.float32, ndmin=ndmin))
    except (TypeError, ValueError):
        return torch.full((1,) * ndmin, torch.nan)


def _pack(prefix: str, part: HistoryEntry | StoredFrame | GivenLook | WholeFrame) -> dict[str, np.ndarray]:
    """The fields of a part (ids, numbers and tensors) as arrays; fields that are None are left out."""
    arrays = {}
    for item in fields(part):
        value = getattr(part, item.name)
        if isinstance(value, Tensor):
            arrays[f"{prefix}/{item.name}"] = value.cpu().numpy().copy()
        elif value is not None:
            arrays[f"{prefix}/{item.name}"] = np.array(value, np.int64 if item.name == "object_ids" else None)
    return arrays


def _unpack(kind: type[Part], arrays: Mapping[str, np.ndarray], prefix: str, device: torch.device) -> Part:
    """The part that `_pack` returned as arrays."""
    values: dict[str, Any] = {}
    for item in fields(kind):
        array = arrays.get(f"{prefix}/{item.name}")
        if item.name == "object_ids" and array is not None:
            values[item.name] = ObjectIds(array.tolist())
        elif array is not None:
            # Text formats such as JSON do not keep the types of numbers.
            dtype = torch.int16 if item.name == "keys" else torch.float32
            values[item.name] = torch.tensor(array, dtype=dtype, device=device) if array.ndim else array.item()
    return kind(**values)


def _unpack_all(
    kind: type[Part], arrays: Mapping[str, np.ndarray], prefix: str, device: torch.device
) -> Iterator[Part]:
    number = 0
    while f"{prefix}/{number}/object_ids" in arrays:
        yield _unpack(kind, arrays, f"{prefix}/{number}", device)
        number += 1


def check_state(arrays: Mapping[str, np.ndarray], config: ModelConfig, geometry: Geometry | None) -> None:
    """Raise InputError if this is not a state, or one of another architecture or working resolution.

    geometry: of the frames; None if it is unknown, or if the segmenter does not match.
    """
    needed = ("version", "model", "next_frame", "size", "object_ids")
    if any(name not in arrays for name in needed) or int(arrays["version"]) != STATE_VERSION:
        raise InputError(f"this is not a segmenter state of version {STATE_VERSION}; start the run over")
    if str(arrays["model"]) != config.name:
        raise InputError(
            f"the state was made with the model '{arrays['model']}', not '{config.name}';"
            " use the weights that the run began with"
        )
    keys = None
    if config.matching is not None and geometry is not None:
        keys = (config.matching.stored_channels, geometry.padded[0] // 8, geometry.padded[1] // 8)
    for name, array in arrays.items():
        other_model = name.endswith("/objects") and array.shape[-1] != config.descriptor_channels
        other_size = name.endswith("/keys") and keys not in (None, array.shape)
        if other_model or other_size:
            raise InputError(
                f"the state has {name} of shape {array.shape}, which does not fit this model and resolution;"
                " use the `weights`, `min_dim` and `max_dim` that the run began with"
            )
