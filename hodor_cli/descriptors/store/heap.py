"""Crops and texts of a video, read without HDF5's own code for values of variable length.

HDF5 keeps such values in "global heaps" (HDF5 File Format Specification, section III.E): a data set holds, per value,
its length, the address of a heap and a number in it. HDF5 trusts them, and one wrong byte makes it loop for ever. Here
every address and length is checked against the file.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

#: Bytes of one value; a crop takes a few thousand.
MOST_VALUE_BYTES = 4 << 20
#: Bytes of one heap.
MOST_HEAP_BYTES = 64 << 20

_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
_UNDEFINED = 2**64 - 1


def read_values(path: Path, dataset: h5py.Dataset, rows: np.ndarray) -> list[bytes]:
    """The values of some rows of a one-dimensional data set of variable-length bytes or text.

    Raises ValueError where the file is not what the specification says.
    """
    if dataset.chunks is None or dataset.id.get_create_plist().get_nfilters():
        raise ValueError(f"{dataset.name.rpartition('/')[2]} is not stored in plain chunks")
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(dataset)):
        raise ValueError("there is no such row")
    size = dataset.chunks[0]
    chunks: dict[int, np.ndarray] = {}
    values = []
    with _Heaps(path, dataset.file.userblock_size) as heaps:
        for row in rows.tolist():
            number = row // size
            if number not in chunks:
                _, data = dataset.id.read_direct_chunk((number * size,))
                chunks[number] = np.frombuffer(data, _REFERENCE, count=size)
            length, address, place = chunks[number][row % size].tolist()
            values.append(heaps.value(address, place, length) if length else b"")
    return values


class _Heaps:
    """The global heaps of one file, each read once."""

    def __init__(self, path: Path, base: int) -> None:
        self._file = path.open("rb")
        self._base = base
        self._size = path.stat().st_size
        self._read: dict[int, tuple[bytes, dict[int, tuple[int, int]]]] = {}

    def value(self, address: int, number: int, length: int) -> bytes:
        if length > MOST_VALUE_BYTES:
            raise ValueError(f"a value of {length} bytes")
        if address not in self._read:
            if len(self._read) > 64:  # values lie in the order of their rows
                self._read.clear()
            self._read[address] = self._heap(address)
        data, places = self._read[address]
        start, size = places.get(number, (0, -1))
        if length > size:
            raise ValueError("a value that its heap does not hold")
        return data[start : start + length]

    def _heap(self, address: int) -> tuple[bytes, dict[int, tuple[int, int]]]:
        """The bytes of a heap, and where in them each of its values starts and how long it is."""
        if address == _UNDEFINED or address + self._base + 16 > self._size:
            raise ValueError("a heap outside the file")
        self._file.seek(self._base + address)
        signature, version, size = struct.unpack("<4sB3xQ", self._file.read(16))
        if (signature, version) != (b"GCOL", 1) or not 16 <= size <= MOST_HEAP_BYTES:
            raise ValueError("something else where a heap should be")
        data = self._file.read(size - 16)
        if len(data) < size - 16:
            raise ValueError("a heap that is cut short")
        places: dict[int, tuple[int, int]] = {}
        at = 0
        while at + 16 <= len(data):
            number, length = struct.unpack_from("<H6xQ", data, at)
            if number == 0:  # what follows is free
                break
            if length > len(data) - at - 16:
                raise ValueError("a value that is longer than its heap")
            places[number] = (at + 16, length)
            at += 16 + (length + 7) // 8 * 8
        return data, places

    def __enter__(self) -> _Heaps:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
