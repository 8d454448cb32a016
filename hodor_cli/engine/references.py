"""The masked frames that serve as references: encoded once, and resized when the resolution changes."""

from __future__ import annotations

from typing import TypeVar

from hodor_cli.engine.history import HistoryEntry
from hodor_cli.engine.resolution import WorkingResolution
from hodor_cli.engine.stored_frame import StoredFrame
from hodor_cli.model.matching import Matcher
from hodor_cli.runtime.preprocess import Geometry

_Kept = TypeVar("_Kept", HistoryEntry, StoredFrame)


class References:
    """For each masked frame, its history entry and, if the model matches, its keys and masks (2 MB at 480 lines)."""

    def __init__(self, matcher: Matcher | None) -> None:
        self._matcher = matcher
        self._entries: dict[int, HistoryEntry] = {}
        self._stored: dict[int, tuple[Geometry, StoredFrame]] = {}
        #: The latest result of resizing a frame to another geometry than it was encoded in.
        self._resized: dict[int, tuple[Geometry, StoredFrame]] = {}

    def __contains__(self, frame: int) -> bool:
        return frame in self._entries

    def put(self, frame: int, entry: HistoryEntry, stored: StoredFrame | None, geometry: Geometry) -> None:
        """Keep the result of encoding a frame in this geometry."""
        self._entries[frame] = entry
        if stored is not None:
            self._stored[frame] = geometry, stored

    def entry(self, frame: int, object_ids: set[int]) -> HistoryEntry | None:
        """A frame's history entry with only these objects; None if it has none of them."""
        return _only(self._entries[frame], object_ids)

    def stored(self, frame: int, object_ids: set[int], resolution: WorkingResolution) -> StoredFrame | None:
        """A frame's keys and masks with only these objects, in a working resolution.

        None if it has none of them, or if the model does not match.
        """
        if frame not in self._stored or self._matcher is None:
            return None
        encoded, stored = self._stored[frame]
        wanted = resolution.geometry(encoded.original)
        if wanted != encoded:
            if frame not in self._resized or self._resized[frame][0] != wanted:
                self._resized[frame] = wanted, stored.resized(encoded, wanted, self._matcher)
            stored = self._resized[frame][1]
        return _only(stored, object_ids)


def _only(frame: _Kept, object_ids: set[int]) -> _Kept | None:
    if object_ids.isdisjoint(frame.object_ids):
        return None
    for object_id in set(frame.object_ids).difference(object_ids):
        frame = frame.without(object_id) or frame
    return frame
