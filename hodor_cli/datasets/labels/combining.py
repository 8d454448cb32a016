"""Masks given for one frame in several files, combined into one label map."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.mask_colours import Colour, smallest_free_id
from hodor_cli.datasets.labels.mask_values import MaskFile
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.paths import listed, plural


class PackedLabels:
    """An (H, W) label map, compressed, so that those of hundreds of frames need little memory."""

    def __init__(self, labels: NDArray[np.integer]) -> None:
        self._data, self.shape = zlib.compress(labels.astype(np.uint16).tobytes(), 1), labels.shape

    @property
    def labels(self) -> NDArray[np.uint16]:
        """(H, W) object ids, 0 background; a new array each time."""
        return np.frombuffer(zlib.decompress(self._data), np.uint16).reshape(self.shape).copy()


@dataclass(frozen=True)
class MaskInput:
    """The mask of one frame, combined from all files given for it.

    files: the files it comes from. notes: sentences for the user. colours: id -> colour, from RGB masks. named: whether
    the user named its one object's id, which then stays.
    """

    files: tuple[str, ...]
    object_ids: tuple[int, ...]
    packed: PackedLabels = field(repr=False)
    notes: list[str] = field(default_factory=list)
    colours: dict[int, Colour] | None = None
    named: bool = False

    @property
    def numbered(self) -> bool:
        """Whether the object gets its id when masks are combined: it is the only one and has none of its own."""
        return self.object_ids == (1,) and not self.named

    @property
    def labels(self) -> NDArray[np.uint16]:
        """(H, W) object ids, 0 background; a new array each time."""
        return self.packed.labels

    @classmethod
    def of(cls, files: tuple[str, ...], mask: MaskFile) -> MaskInput:
        """Pack a mask that comes from these files."""
        return cls(files, tuple(mask.object_ids), PackedLabels(mask.labels), list(mask.notes), mask.colours)


def combine_masks(entries: Iterable[tuple[int, MaskInput]]) -> dict[int, MaskInput]:
    """Combine the masks of each frame, in the given order.

    Masks of one frame that each hold only the id 1 are different objects: the first keeps 1, the others get the
    smallest ids that no mask uses. The ids of all other masks stay. Raises `InputError`, which names both files, if two
    masks of a frame hold the same pixels, or different pixels of one object.
    """
    by_frame: dict[int, list[MaskInput]] = {}
    for frame, entry in entries:
        by_frame.setdefault(frame, []).append(entry)
    explicit = {i for group in by_frame.values() for entry in group if not entry.numbered for i in entry.object_ids}
    combined = {frame: _combine_frame(frame, by_frame[frame], explicit) for frame in sorted(by_frame)}
    first: dict[int, int] = {}
    told = len(combined) > 10  # a folder with a mask for every frame
    for frame, entry in combined.items():
        again = [i for i in entry.object_ids if i in first]
        if again and not told:  # once, because it holds for later masks as well
            told = True
            entry.notes.append(
                f"the mask at frame {frame} corrects the object{'s' if len(again) > 1 else ''} {listed(again, 8)} of "
                f"frame {first[again[0]]}; to start a new object there, draw it with another value"
            )
        for i in entry.object_ids:
            first.setdefault(i, frame)
    return combined


def _combine_frame(frame: int, group: list[MaskInput], explicit: set[int]) -> MaskInput:
    if len(group) == 1:
        return group[0]
    here = {i for entry in group if not entry.numbered for i in entry.object_ids}
    labels = np.zeros(group[0].packed.shape, dtype=np.uint16)
    owners: dict[int, MaskInput] = {}
    notes: list[str] = []
    colours: dict[int, Colour] = {}
    renamed: list[str] = []
    for entry in group:
        mine = entry.labels
        if entry.numbered:
            new = 1 if 1 not in here else smallest_free_id(here | explicit | {1})
            here.add(new)
            mine[mine > 0] = new
            renamed.append(f"{Path(entry.files[0]).name} is {new}")
        for object_id in ids_in(mine):
            other = owners.setdefault(object_id, entry)
            if other is not entry and ((labels == object_id) != (mine == object_id)).any():
                raise InputError(
                    f"{other.files[0]} and {entry.files[0]} give different masks of object {object_id} in frame "
                    f"{frame}; give one of them, or give another object another id"
                )
            if other is not entry:  # the same mask twice
                mine[mine == object_id] = 0
        clash = (labels > 0) & (mine > 0)
        if clash.any():
            y, x = np.argwhere(clash)[0]
            first, same = owners[int(labels[y, x])], plural(int(clash.sum()), "pixel")
            raise InputError(
                f"{first.files[0]} and {entry.files[0]} give the same {same} of frame {frame} to the "
                f"objects {labels[y, x]} and {mine[y, x]}; a pixel belongs to one object, so cut one of the masks"
            )
        labels += mine
        notes += [note for note in entry.notes if note not in notes]
        colours.update(entry.colours or {})
    if len(renamed) > 1 or (renamed and not renamed[0].endswith(" is 1")):
        notes.append(f"masks of one object each at frame {frame} are different objects: {', '.join(renamed)}")
    return MaskInput.of(
        tuple(file for entry in group for file in entry.files), MaskFile(labels, notes, colours or None)
    )
