"""Masks as COCO run lengths, and whole videos of them in the layout of YouTube-VIS."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from hodor_cli.files import replacing


class Rle(TypedDict):
    """A compressed COCO mask: (height, width) and the run lengths as text."""

    size: list[int]
    counts: str


class VideoMask(TypedDict):
    """One object in one frame, as `write_video_annotations` takes it."""

    counts: str
    area: int
    box: list[int]


def encode_rle(mask: NDArray[np.bool_]) -> Rle:
    """The COCO run lengths of an (H, W) bool mask."""
    from pycocotools import mask as coco_mask

    packed = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in mask.shape], "counts": packed["counts"].decode("ascii")}


def write_video_annotations(
    path: Path,
    *,
    name: str,
    size: tuple[int, int],
    file_names: Iterable[str],
    length: int,
    object_ids: Collection[int],
    frames_of: Callable[[int], Iterable[VideoMask | None]],
    names: Mapping[int, str] | None = None,
) -> None:
    """Write one video's masks as YouTube-VIS JSON, mask by mask, so that memory does not grow with the video's length.

    `size` is (height, width), `length` the number of frames; `frames_of(object_id)` gives the object's mask in each
    frame, None if it is absent. An annotation's `object_id` is the user's id (its `id` counts from 1); its category is
    that of its name in `names`, "object" without one. The file is complete as soon as it exists.
    """
    height, width = size
    called = {object_id: (names or {}).get(object_id) or "object" for object_id in object_ids}
    numbers = {name: number for number, name in enumerate(dict.fromkeys(called.values()), start=1)}
    categories = [{"id": number, "name": name, "supercategory": "object"} for name, number in numbers.items()]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"info": {"description": "hodor segment"}, "licenses": [],\n')
        file.write(f'"categories": {json.dumps(categories)},\n')
        video = {"id": 1, "name": name, "width": width, "height": height, "length": length}
        file.write('"videos": [' + json.dumps(video)[:-1] + ', "file_names": ')
        _write_list(file.write, file_names)
        file.write('}],\n"annotations": [')
        for number, object_id in enumerate(object_ids, start=1):
            entry = {"id": number, "video_id": 1, "category_id": numbers[called[object_id]], "object_id": object_id}
            entry |= {"iscrowd": 0, "width": width, "height": height, "length": length}
            file.write(("\n" if number == 1 else ",\n") + json.dumps(entry)[:-1])
            for key, value_of in _FIELDS.items():
                file.write(f', "{key}": ')
                _write_list(
                    file.write, (None if item is None else value_of(item, size) for item in frames_of(object_id))
                )
            file.write("}")
        file.write("\n]}\n")


_FIELDS: dict[str, Callable[[VideoMask, tuple[int, int]], Any]] = {
    "segmentations": lambda item, size: {"size": list(size), "counts": item["counts"]},
    "bboxes": lambda item, _: item["box"],
    "areas": lambda item, _: item["area"],
}


def _write_list(write: Callable[[str], Any], items: Iterable[Any]) -> None:
    write("[")
    for position, item in enumerate(items):
        write((", " if position else "") + json.dumps(item))
    write("]")
