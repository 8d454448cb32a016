"""Reading and checking crops and texts without HDF5's own code for values of variable length.

HDF5 keeps such values in "global heaps" (HDF5 File Format Specification, section III.E): a data set or an attribute
holds, per value, its length, the address of a heap, and its number in that heap. HDF5 trusts them, and one wrong byte
makes it loop forever. Here every address and length is checked against the file.
"""

from __future__ import annotations

import struct
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np

#: Bytes of one value; a crop takes a few thousand.
MOST_VALUE_BYTES = 4 << 20
#: Bytes of one heap.
MOST_HEAP_BYTES = 64 << 20

_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
#: Kinds of message in an object header, and the class of variable-length data types.
_ATTRIBUTE, _CONTINUATION, _VARIABLE = 0x000C, 0x0010, 9


def read_values(path: Path, dataset: h5py.Dataset, rows: np.ndarray) -> list[bytes]:
    """The values of some rows of a one-dimensional data set of variable-length bytes or text.

    Raises ValueError if the file does not follow the specification.
    """
    if dataset.chunks is None or dataset.id.get_create_plist().get_nfilters():
        raise ValueError(f"{dataset.name.rpartition('/')[2]} is not stored in plain chunks")
    size = dataset.chunks[0]
    chunks = [dataset.id.read_direct_chunk((start,))[1] for start in range(0, len(dataset), size)]
    held = np.concatenate([np.zeros(0, _REFERENCE), *(np.frombuffer(data, _REFERENCE, size) for data in chunks)])
    with Heaps(path, dataset.file.userblock_size) as heaps:
        return [heaps.value(address, number, length) for length, address, number in held[rows].tolist()]


class Heaps(AbstractContextManager["Heaps"]):
    """The global heaps of one file, each read once."""

    def __init__(self, path: Path, base: int) -> None:
        self._file = path.open("rb")
        self._base = base
        self._size = path.stat().st_size
        self._read: dict[int, dict[int, bytes]] = {}

    def check_attributes(self, group: h5py.Group) -> None:
        """Raise ValueError unless HDF5 can safely read a group's text attributes.

        They are stored in messages of the group's object header (HDF5 File Format Specification, section IV.A.1.a).
        """
        start = h5py.h5o.get_info(group.id).addr
        version, size = struct.unpack("<B7xI", self._bytes(start, 12))
        if version != 1:
            raise ValueError("its attributes are stored in a form that hodor does not write")
        blocks = [(start + 16, size)]
        for block in blocks:
            data = self._bytes(*block)
            at = 0
            while at + 8 <= len(data):
                kind, size = struct.unpack_from("<HH", data, at)
                message = data[at + 8 : at + 8 + size]
                at += 8 + size
                if kind == _CONTINUATION:
                    if len(blocks) > 64:
                        raise ValueError("a header without an end")
                    blocks.append(struct.unpack_from("<QQ", message))
                elif kind == _ATTRIBUTE:
                    version, *given = struct.unpack_from("<BxHHH", message)
                    name, datatype, space = (-(-side // 8) * 8 if version == 1 else side for side in given)
                    begin = (8 if version < 3 else 9) + name
                    if begin < len(message) and message[begin] & 15 == _VARIABLE:
                        for place in range(begin + datatype + space, len(message) - 15, 16):
                            length, address, number = struct.unpack_from("<IQI", message, place)
                            self.value(address, number, length)

    def _bytes(self, address: int, size: int) -> bytes:
        if address + self._base + size > self._size or size > MOST_HEAP_BYTES:
            raise ValueError("an address outside the file")
        self._file.seek(self._base + address)
        return self._file.read(size)

    def value(self, address: int, number: int, length: int) -> bytes:
        """The first `length` bytes of value `number` in the heap at `address`."""
        if not length:
            return b""
        if length > MOST_VALUE_BYTES:
            raise ValueError(f"a value of {length} bytes")
        if address not in self._read:
            if len(self._read) > 64:  # values are stored in row order, so old heaps are rarely needed again
                self._read.clear()
            self._read[address] = self._heap(address)
        found = self._read[address].get(number, b"")
        if length > len(found):
            raise ValueError("a value that its heap does not hold")
        return found[:length]

    def _heap(self, address: int) -> dict[int, bytes]:
        """The values of a heap by number."""
        signature, version, size = struct.unpack("<4sB3xQ", self._bytes(address, 16))
        if (signature, version) != (b"GCOL", 1) or not 16 <= size <= MOST_HEAP_BYTES:
            raise ValueError("something else where a heap should be")
        data = self._bytes(address + 16, size - 16)
        values: dict[int, bytes] = {}
        at = 0
        while at + 16 <= len(data):
            number, length = struct.unpack_from("<H6xQ", data, at)
            taken = 16 + (length + 7) // 8 * 8 if number else length  # number 0: free space, header included
            if not 16 <= taken <= len(data) - at:
                raise ValueError("a value that is longer than its heap")
            values[number] = data[at + 16 : at + 16 + length] if number else b""
            at += taken
        return values

    def __exit__(self, *error: object) -> None:
        self._file.close()
