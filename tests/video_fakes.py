"""Pictures that show their orientation and their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hodor_cli.video.decoding import decode_frames


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Red left half, green top right, blue grows with the index: shows orientation and order."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 200
    image[: height // 2, width // 2 :, 1] = 200
    image[..., 2] = 20 * index % 256
    return image


def colour_at(image: np.ndarray, row: float, column: float) -> str:
    """ "red", "green" or "dark" at a place given in parts of the sides."""
    red, green, _ = image[int(row * image.shape[0]), int(column * image.shape[1])].astype(int)
    return "red" if red > green + 60 else "green" if green > red + 60 else "dark"


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """A list that gets one more entry for each frame of a video that is decoded from now on."""
    decoded: list[None] = []

    def counted(*arguments: Any) -> Iterator[Any]:
        for item in decode_frames(*arguments):
            decoded.append(None)
            yield item

    monkeypatch.setattr("hodor_cli.video.file.decode_frames", counted)
    return decoded


def damaged(path: Path, *packets: int, skip: int = 0) -> Path:
    """The file with zeros instead of some packets, from byte `skip` of them on."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in packets:
        start, size = places[number]
        if path.suffix == ".ts":  # whose packets are split
            size = places[number + 1][0] - start
        data[start + skip : start + size] = bytes(size - skip)
    path.write_bytes(bytes(data))
    return path
