"""Combines the masks that several files give for one frame into one label map."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.labels.mask_colours import Colour, smallest_free_id
from hodor_cli.errors import InputError
from hodor_cli.images.label_png import ids_in
from hodor_cli.images.paths import listed, plural


class PackedMask:
    """The mask of one frame, compressed, so that hundreds of them need little memory.

    files: the files it comes from. notes: sentences for the user. colours: id -> colour, from RGB masks. named: whether
    the user chose the id of its only object.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        files: tuple[str, ...] = (),
        notes: Sequence[str] = (),
        colours: dict[int, Colour] | None = None,
        *,
        named: bool = False,
    ) -> None:
        self._data, self.shape = zlib.compress(labels.astype(np.uint16).tobytes(), 1), labels.shape
        self.object_ids, self.files = tuple(ids_in(labels)), files
        self.notes, self.colours = list(notes), colours
        #: Whether `combine_masks` chooses the object's id: it is the only object, and the user has not chosen one.
        self.needs_id = self.object_ids == (1,) and not named

    @property
    def labels(self) -> NDArray[np.uint16]:
        """(H, W) object ids, 0 background; a new array each time."""
        return np.frombuffer(zlib.decompress(self._data), np.uint16).reshape(self.shape).copy()

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.uint16]:
        return self.labels  # NumPy converts it to `dtype`


def combine_masks(entries: Iterable[tuple[int, PackedMask]]) -> dict[int, PackedMask]:
    """Combine the masks of each frame, in the given order.

    Masks of one frame that each contain only the id 1 are different objects: the first keeps 1, the others get the
    smallest ids that no mask uses. All other ids stay. Raises `InputError`, which names both files, if two masks of a
    frame give a pixel to different objects, or give one object different pixels.
    """
    by_frame: dict[int, list[PackedMask]] = {}
    for frame, entry in entries:
        by_frame.setdefault(frame, []).append(entry)
    explicit = {i for group in by_frame.values() for entry in group if not entry.needs_id for i in entry.object_ids}
    combined = {frame: _combine_frame(frame, by_frame[frame], explicit) for frame in sorted(by_frame)}
    first: dict[int, int] = {}
    noted = len(combined) > 10  # a folder with a mask for every frame
    for frame, entry in combined.items():
        again = [i for i in entry.object_ids if i in first]
        if again and not noted:  # once, because the same is true of later masks
            noted = True
            entry.notes.append(
                f"the mask at frame {frame} corrects the object{'s' if len(again) > 1 else ''} {listed(again, 8)} of "
                f"frame {first[again[0]]}; to start a new object there, give it another id"
            )
        for i in entry.object_ids:
            first.setdefault(i, frame)
    return combined


def _combine_frame(frame: int, group: list[PackedMask], explicit: set[int]) -> PackedMask:
    if len(group) == 1:
        return group[0]
    here = {i for entry in group if not entry.needs_id for i in entry.object_ids}
    labels = np.zeros(group[0].shape, dtype=np.uint16)
    owners: dict[int, PackedMask] = {}
    notes: list[str] = []
    colours: dict[int, Colour] = {}
    renamed: list[str] = []
    for entry in group:
        mine = entry.labels
        if entry.needs_id:
            new = 1 if 1 not in here else smallest_free_id(here | explicit | {1})
            here.add(new)
            mine[mine > 0] = new
            renamed.append(f"{Path(entry.files[0]).name} is {new}")
        for object_id in ids_in(mine):
            other = owners.setdefault(object_id, entry)
            if other is not entry and ((labels == object_id) != (mine == object_id)).any():
                raise InputError(
                    f"{other.files[0]} and {entry.files[0]} give different masks of object {object_id} in frame "
                    f"{frame}; give only one of them, or use another id if it is another object"
                )
            if other is not entry:  # the same mask twice
                mine[mine == object_id] = 0
        clash = (labels > 0) & (mine > 0)
        if clash.any():
            y, x = np.argwhere(clash)[0]
            first, same = owners[int(labels[y, x])], plural(int(clash.sum()), "pixel")
            given = f" (a mask of one object gets a free id: {listed(renamed)})" if renamed else ""
            raise InputError(
                f"{first.files[0]} and {entry.files[0]} give {same} of frame {frame} to the objects {labels[y, x]} and "
                f"{mine[y, x]}{given}; trim one mask"
            )
        labels += mine
        notes += [note for note in entry.notes if note not in notes]
        colours.update(entry.colours or {})
    if len(renamed) > 1 or (renamed and not renamed[0].endswith(" is 1")):
        notes.append(f"masks of one object each at frame {frame} are different objects: {', '.join(renamed)}")
    return PackedMask(labels, tuple(file for entry in group for file in entry.files), notes, colours or None)
