"""Small real data sets on disk for the tests of training data: photographs in COCO format, and clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photograph(rng: np.random.Generator, height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    """A smooth coloured ground with one flat coloured rectangle (x, y, w, h) per object."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 90)], -1).astype(np.uint8)
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return image


def box_mask(height: int, width: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """The bool mask of a rectangle (x, y, w, h)."""
    x, y, w, h = box
    mask = np.zeros((height, width), dtype=bool)
    mask[y : y + h, x : x + w] = True
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed COCO run lengths of a mask."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    return counts[:-1] if counts[-1] == 0 and len(counts) % 2 == 0 else counts


def make_coco(folder: Path, count: int = 6, *, size: tuple[int, int] = (96, 128), objects: int = 2) -> dict[str, Any]:
    """Write `count` PNG photographs with `objects` rectangles each, and instances.json. Returns its content."""
    rng = np.random.default_rng(0)
    height, width = size
    (folder / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "box"}]}
    for number in range(1, count + 1):
        boxes = [(10 + 55 * i, 20 + 3 * number, 40, 36) for i in range(objects)]
        name = f"{number:03d}.png"
        Image.fromarray(photograph(rng, height, width, boxes)).save(folder / "images" / name)
        source = "even" if number % 2 == 0 else "odd"
        content["images"].append({"id": number, "file_name": name, "height": height, "width": width, "source": source})
        for box in boxes:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": 7,
                    "iscrowd": 0,
                    "area": box[2] * box[3],
                    "bbox": list(box),
                    "segmentation": {"size": [height, width], "counts": runs(box_mask(height, width, box))},
                }
            )
    save_coco(folder, content)
    return content


def save_coco(folder: Path, content: dict[str, Any]) -> None:
    """Write instances.json."""
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def make_clips(
    folder: Path,
    clips: dict[str, int],
    *,
    resolution: str | None = "480p",
    value: int = 255,
    size: tuple[int, int] = (96, 128),
    every: int = 1,
) -> None:
    """Write clips (name -> frames) with a moving rectangle; masks of `value` at every n-th frame, as grey PNGs."""
    height, width = size
    level = Path(resolution) if resolution else Path()
    for name, length in clips.items():
        frames, masks = folder / "JPEGImages" / level / name, folder / "Annotations" / level / name
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for t in range(length):
            box = (8 + 4 * t, 24, 40, 44)
            image = photograph(np.random.default_rng(1), height, width, [box])
            Image.fromarray(image).save(frames / f"{t:05d}.jpg", quality=95)
            if t % every == 0:
                mask = box_mask(height, width, box).astype(np.uint8) * value
                Image.fromarray(mask).save(masks / f"{t:05d}.png")
