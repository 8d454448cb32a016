"""Ways to damage a file: at random in its bytes, and by its kind where bytes alone would never get past the door."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

#: What stands where it was not expected in JSON.
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, -1e-300, 2**63, 10**40, float("nan"), "", "x", "../../x", "/etc/passwd", "\x1b[31m",
    "\x00", "a" * 5000, [], {}, [[]], [None] * 3, {"a": {}}, [1e400], "=1+1", "日本",
)  # fmt: skip


def mutate(path: Path, random: Random) -> str:
    """Damage a file in place; returns what was done to it."""
    data = path.read_bytes()
    own = BY_SUFFIX.get(path.suffix, ())
    mutation = random.choice(own) if own and random.random() < 0.6 else random.choice(BYTES)
    try:
        path.write_bytes(mutation(data, random))
    except (
        ValueError,
        TypeError,
        AttributeError,
        struct.error,
        RecursionError,
    ):  # damaged already, and no such file now
        path.write_bytes(truncate(data, random))
    return f"{mutation.__name__} {path.name}"


def flip(data: bytes, random: Random) -> bytes:
    """Change some bits."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 32))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_near_start(data: bytes, random: Random) -> bytes:
    """Change some bytes of the header."""
    return flip(data[:64], random) + data[64:]


def truncate(data: bytes, random: Random) -> bytes:
    """Cut off the end."""
    return data[: random.randrange(len(data) + 1)]


def zero(data: bytes, random: Random) -> bytes:
    """Zero a stretch, as a disk does after a crash."""
    start = random.randrange(len(data) + 1)
    length = min(len(data) - start, random.choice((4, 64, 4096)))
    return data[:start] + bytes(length) + data[start + length :]


def insert(data: bytes, random: Random) -> bytes:
    """Insert random bytes."""
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.choice((1, 8, 200))) + data[place:]


def repeat(data: bytes, random: Random) -> bytes:
    """Write a stretch twice."""
    start = random.randrange(len(data) + 1)
    end = start + random.randrange(len(data) - start + 1)
    return data[:end] + data[start:end] + data[end:]


def empty(data: bytes, random: Random) -> bytes:
    """Leave nothing."""
    return b""


def noise(data: bytes, random: Random) -> bytes:
    """Replace everything."""
    return random.randbytes(len(data) % 5000)


def odd_json(data: bytes, random: Random) -> bytes:
    """Put an odd value, or none, in place of one somewhere in a JSON document."""
    return json.dumps(_changed(json.loads(data), random)).encode()


def odd_json_line(data: bytes, random: Random) -> bytes:
    """The same in one line of a file with a document on each."""
    lines = data.splitlines() or [b"{}"]
    place = random.randrange(len(lines))
    lines[place] = odd_json(lines[place], random)
    return b"\n".join(lines) + b"\n"


def odd_top(data: bytes, random: Random) -> bytes:
    """Replace the whole JSON document."""
    return json.dumps(random.choice(ODD)).encode()


def deep_json(data: bytes, random: Random) -> bytes:
    """Nest deeper than any parser recurses."""
    return b'{"a":' * 20_000 + b"1" + b"}" * 20_000


def odd_npy_shape(data: bytes, random: Random) -> bytes:
    """Claim another shape or type in the header of a NumPy file."""
    shape = random.choice(("(99999999, 99999999)", "(-1, 3)", "()", "(2,)", "(3, 3, 3)", "(0, 0)", "(1e9,)"))
    kind = random.choice(("|u1", "<f8", "|O", "<U9", "<c16", ">i4", "|b1"))
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data[128:]


def odd_safetensors(data: bytes, random: Random) -> bytes:
    """Put odd values into the header of a safetensors file."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    if random.random() < 0.5 and isinstance(header.get("__metadata__"), dict):
        metadata = header["__metadata__"]
        name = random.choice(sorted(metadata))
        try:
            metadata[name] = json.dumps(_changed(json.loads(metadata[name]), random))
        except ValueError:
            metadata[name] = random.choice(("", "x", "null", "[]"))
    else:
        header = _changed(header, random)
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data[8 + length :]


def odd_lines(data: bytes, random: Random) -> bytes:
    """Put odd lines into a list."""
    lines = data.splitlines()
    odd = (b"", b"#", b"../../x", b"\xff\xfe", b"\xef\xbb\xbf", b"/dev/zero", b"a" * 5000, b"\x00", *lines)
    lines.insert(random.randrange(len(lines) + 1), random.choice(odd))
    return b"\n".join(lines)


def _changed(value: Any, random: Random) -> Any:
    """A JSON value in which one place, at any depth, holds an odd value or is gone."""
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or random.random() < 0.15:
        return random.choice(ODD)
    key, changed = random.choice(keys), value.copy()
    if random.random() < 0.15:
        del changed[key]
    else:
        changed[key] = _changed(changed[key], random)
    return changed


BYTES: tuple[Mutation, ...] = (flip, flip_near_start, truncate, zero, insert, repeat, empty, noise)
BY_SUFFIX: dict[str, tuple[Mutation, ...]] = {
    ".json": (odd_json, odd_json, odd_json, odd_json, odd_top, deep_json),
    ".jsonl": (odd_json_line,),
    ".npy": (odd_npy_shape,),
    ".safetensors": (odd_safetensors,),
    ".txt": (odd_lines,),
}
