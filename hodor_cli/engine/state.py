"""All that a segmenter remembers between frames, and the same as arrays, so that a run can stop and be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hodor_cli.config import NUM_BACKGROUND
from hodor_cli.engine.evidence import GivenLook, pack_looks, unpack_looks
from hodor_cli.engine.history import HistoryEntry, HistoryRing, pinned_entries
from hodor_cli.engine.masks import check_object_id
from hodor_cli.engine.matching_memory import MatchingMemory, StoredFrame
from hodor_cli.engine.motion import Motion
from hodor_cli.engine.objects import ObjectIds
from hodor_cli.errors import InputError

STATE_VERSION = 4


@dataclass
class Followed:
    """The objects that are followed: their ids, descriptors, keys for matching, movement, and looks when given."""

    ids: ObjectIds
    ring: HistoryRing
    memory: MatchingMemory = field(default_factory=MatchingMemory)
    motion: Motion = field(default_factory=Motion)
    looks: dict[int, GivenLook] = field(default_factory=dict)

    @staticmethod
    def none(history: int) -> Followed:
        """No objects yet, with a window of `history` frames."""
        return Followed(ObjectIds(), HistoryRing(history))

    @staticmethod
    def of_descriptors(
        objects: Mapping[int, np.ndarray],
        background: np.ndarray | None,
        channels: int,
        history: int,
        device: torch.device,
    ) -> Followed:
        """Objects known by one (D,) or several (K, D) descriptors each; see `Segmenter.start_from`."""
        rows = {}
        for object_id, values in objects.items():
            check_object_id(object_id, "among the descriptors")
            rows[int(object_id)] = torch.tensor(np.atleast_2d(np.asarray(values, np.float32)), device=device)
            if rows[int(object_id)].shape[1] != channels:
                raise InputError(
                    f"the descriptor of object {object_id} has {rows[int(object_id)].shape[1]} channels and the model"
                    f" makes {channels}; export it again with these weights"
                )
        scene: Tensor | None = None
        if background is not None:
            scene = torch.tensor(np.asarray(background, np.float32), device=device)
            if scene.shape != (NUM_BACKGROUND, channels):
                raise InputError(
                    f"the background descriptors are {tuple(scene.shape)} and must be ({NUM_BACKGROUND}, {channels});"
                    " export them again with these weights"
                )
        followed = Followed(ObjectIds(rows), HistoryRing(history))
        followed.ring.pinned = pinned_entries(rows, scene)
        seen = None if scene is None else scene.cpu()
        followed.looks = {key: GivenLook.of(values.mean(dim=0).cpu(), seen) for key, values in rows.items()}
        return followed

    def copy(self) -> Followed:
        """Another one with the same objects; what it holds is immutable."""
        return Followed(self.ids, self.ring.copy(), self.memory.copy(), self.motion.copy(), dict(self.looks))

    def forget(self, object_id: int) -> None:
        """Forget what was believed of an object; its id stays."""
        self.ring.forget(object_id)
        self.memory.forget(object_id)
        self.motion.forget(object_id)
        self.looks.pop(object_id, None)

    def pack(self) -> dict[str, np.ndarray]:
        """As arrays that `np.savez` can write; copies, which later steps and the caller do not share."""
        return {
            "object_ids": np.array(self.ids, dtype=np.int64),
            **pack_history(self.ring),
            **pack_matching(self.memory),
            **self.motion.state(),
            **pack_looks(self.looks),
        }

    @staticmethod
    def unpack(arrays: Mapping[str, np.ndarray], history: int, device: torch.device, *, matching: bool) -> Followed:
        """What `pack` gave; without `matching` its keys are left out."""
        followed = Followed(ObjectIds(int(i) for i in arrays["object_ids"]), HistoryRing(history))
        unpack_history(arrays, followed.ring, device)
        if matching:
            unpack_matching(arrays, followed.memory, device)
        followed.motion, followed.looks = Motion.of_state(arrays), unpack_looks(arrays)
        return followed


def pack_history(ring: HistoryRing) -> dict[str, np.ndarray]:
    """All entries of a ring, pinned ones under `pinned/`."""
    arrays: dict[str, np.ndarray] = {}
    for kind, entries in (("pinned", ring.pinned), ("history", ring.entries)):
        for k, entry in enumerate(entries):
            arrays[f"{kind}/{k}/frame"] = np.array(entry.frame)
            arrays[f"{kind}/{k}/object_ids"] = np.array(entry.object_ids, dtype=np.int64)
            arrays[f"{kind}/{k}/objects"] = entry.objects.cpu().numpy().copy()
            if entry.background is not None:
                arrays[f"{kind}/{k}/background"] = entry.background.cpu().numpy().copy()
    return arrays


def unpack_history(arrays: Mapping[str, np.ndarray], ring: HistoryRing, device: torch.device) -> None:
    """Fill a ring with what `pack_history` gave."""

    def entries(kind: str) -> list[HistoryEntry]:
        found: list[HistoryEntry] = []
        while f"{kind}/{len(found)}/frame" in arrays:
            prefix = f"{kind}/{len(found)}/"
            background = arrays.get(prefix + "background")
            found.append(
                HistoryEntry(
                    frame=int(arrays[prefix + "frame"]),
                    object_ids=ObjectIds(int(i) for i in arrays[prefix + "object_ids"]),
                    objects=torch.tensor(arrays[prefix + "objects"], device=device),
                    background=None if background is None else torch.tensor(background, device=device),
                )
            )
        return found

    ring.pinned = entries("pinned")
    ring.entries.clear()
    ring.entries.extend(entries("history"))


def pack_matching(memory: MatchingMemory) -> dict[str, np.ndarray]:
    """The frames kept for matching."""
    arrays: dict[str, np.ndarray] = {"matching/age": np.array(memory.age)} if memory.age else {}
    stored = {"previous": memory.previous, "recent": memory.recent}
    stored |= {f"reference/{k}": frame for k, frame in enumerate(memory.references)}
    for name, frame in stored.items():
        if frame is not None:
            arrays[f"matching/{name}/object_ids"] = np.array(frame.object_ids, dtype=np.int64)
            arrays[f"matching/{name}/keys"] = frame.keys.cpu().numpy().copy()
            arrays[f"matching/{name}/peak"] = np.array(frame.peak)
            arrays[f"matching/{name}/masks"] = frame.masks.cpu().numpy().copy()
    return arrays


def unpack_matching(arrays: Mapping[str, np.ndarray], memory: MatchingMemory, device: torch.device) -> None:
    """Fill a matching memory with what `pack_matching` gave."""

    def frame(name: str) -> StoredFrame | None:
        if f"matching/{name}/keys" not in arrays:
            return None
        return StoredFrame(
            object_ids=ObjectIds(int(i) for i in arrays[f"matching/{name}/object_ids"]),
            keys=torch.tensor(arrays[f"matching/{name}/keys"], device=device),
            peak=float(arrays[f"matching/{name}/peak"]),
            masks=torch.tensor(arrays[f"matching/{name}/masks"], device=device),
        )

    memory.age = int(arrays.get("matching/age", 0))
    memory.previous, memory.recent = frame("previous"), frame("recent")
    memory.references.clear()
    while (reference := frame(f"reference/{len(memory.references)}")) is not None:
        memory.references.append(reference)


def check_state(
    arrays: Mapping[str, np.ndarray], *, model: str, descriptor_channels: int, keys: tuple[int, int, int] | None
) -> None:
    """Raise InputError if this is not a state, or not one of this architecture and working resolution.

    `keys` is the shape (K, h, w) of the keys that the model matches with, None if it does not match.
    """
    needed = ("version", "model", "next_frame", "size", "object_ids")
    if any(name not in arrays for name in needed) or int(arrays["version"]) != STATE_VERSION:
        raise InputError(f"this is no segmenter state of version {STATE_VERSION}; start the run again")
    if str(arrays["model"]) != model:
        raise InputError(
            f"the state was made with the model '{arrays['model']}' and this one is '{model}';"
            " use the weights that the run began with"
        )
    for name in arrays:
        if name.endswith("/objects") and arrays[name].shape[-1] != descriptor_channels:
            raise InputError(
                f"the state holds descriptors of {arrays[name].shape[-1]} channels and the model makes"
                f" {descriptor_channels}; use the weights that the run began with"
            )
        if name.endswith("/keys") and keys is not None and arrays[name].shape != keys:
            raise InputError(
                f"the state holds keys of shape {arrays[name].shape} and the model makes {keys} here;"
                " use the `weights`, `min_dim` and `max_dim` that the run began with"
            )
