"""Small data sets and runs for the tests of training; everything is `toy` and takes seconds."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from data_fakes import runs, save_coco
from PIL import Image

from hodor_cli.samples.settings import ClipOptions
from hodor_cli.training.options import Callbacks, LaunchSettings, RunOptions, TrainingResult
from hodor_cli.training.recipe import Recipe


def make_blobs(folder: Path, count: int = 4, *, size: int = 96) -> Path:
    """COCO-format photographs with one large ellipse each, of its own colour on its own ground. Returns the folder."""
    (folder / "images").mkdir(parents=True)
    rows, columns = np.mgrid[:size, :size]
    grounds = [(60, 90, 140), (150, 140, 90), (70, 120, 70), (130, 90, 130)]
    colours = [(220, 60, 40), (40, 70, 200), (230, 200, 60), (240, 240, 240)]
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "blob"}]}
    for number in range(1, count + 1):
        mask = ((rows - 44 - 3 * number) / 30) ** 2 + ((columns - 56 + 4 * number) / (24 + 2 * number)) ** 2 < 1
        image = np.empty((size, size, 3), np.uint8)
        image[:] = grounds[number % 4]
        image[..., 0] += (rows // 8 + columns // 8).astype(np.uint8) % 2 * 30
        image[mask] = colours[number % 4]
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "height": size, "width": size})
        segmentation = {"size": [size, size], "counts": runs(mask)}
        content["annotations"].append(
            {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
        )
    save_coco(folder, content)
    return folder


def losses_of(folder: Path) -> list[float]:
    """The losses of all iterations in a run's metrics.csv, checked to be complete and in order."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == list(range(1, len(rows) + 1))
    return [float(row["loss"]) for row in rows]


def start(
    job: Callable[..., TrainingResult], data: Any, *, launch: LaunchSettings | None = None, **options: Any
) -> Any:
    """Call `pretrain` or `finetune` with the fields of its options, and with `settings`, changes by dotted name."""
    options["changes"] = options.pop("settings", {})
    kinds: list[Any] = [Recipe, RunOptions, Callbacks, *([ClipOptions] if job.__name__ == "finetune" else [])]
    parts = []
    for kind in kinds:
        names = {field.name for field in dataclasses.fields(kind)} & set(options)
        parts.append(kind(**{name: options.pop(name) for name in names}))
    assert not options, options
    more = {"clips": parts[3]} if len(parts) == 4 else {}
    return job(data, recipe=parts[0], run=parts[1], launch=launch, callbacks=parts[2], **more)
