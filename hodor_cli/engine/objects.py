"""Object ids and their rows in tensors: the one place that knows their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from torch import Tensor


class ObjectIds(tuple[int, ...]):
    """Object ids in the order of their rows. Immutable; ids are the user's and are never renumbered.

    Every tensor of the engine with a dimension I is kept together with the `ObjectIds` that name its rows.
    """

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {object_id: row for row, object_id in enumerate(self)}

    def row(self, object_id: int) -> int:
        """The row of an object. Raises KeyError for an unknown one."""
        return self._rows[object_id]

    def rows(self, object_ids: Iterable[int]) -> list[int]:
        """The rows of several objects, in the order given. Raises KeyError for an unknown one."""
        return [self._rows[object_id] for object_id in object_ids]

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._rows

    def adding(self, object_ids: Iterable[int]) -> ObjectIds:
        """These ids followed by the new ones among `object_ids`; known ids keep their row."""
        return ObjectIds(dict.fromkeys((*self, *object_ids)))

    def without(self, object_id: int) -> ObjectIds:
        """These ids without one."""
        return ObjectIds(known for known in self if known != object_id)

    def aligned(self, values: Tensor, wanted: Sequence[int]) -> Tensor:
        """The rows of `values` (I, ...) for W wanted objects, (W, ...); zero for unknown ones."""
        if self == tuple(wanted):
            return values
        aligned = values.new_zeros(len(wanted), *values.shape[1:])
        for row, object_id in enumerate(wanted):
            if object_id in self._rows:
                aligned[row] = values[self._rows[object_id]]
        return aligned
