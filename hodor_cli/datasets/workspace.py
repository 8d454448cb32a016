"""The authors' workspace: where its photographs lie, and the form of its annotations.

`$HODOR_WORKSPACE_DIR/dataset_images/coco_2017_train` holds the photographs, and
`$HODOR_WORKSPACE_DIR/dataset_json_annotations/coco_2017_train.json` their masks, one entry per image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hodor_cli.datasets.coco import find_coco
from hodor_cli.errors import DataError

VARIABLE = "HODOR_WORKSPACE_DIR"
_NAME = "coco_2017_train"


def workspace_stills(environ: Mapping[str, str] | None = None) -> tuple[Path, Path]:
    """(image folder, annotation file) of the prepared workspace. Raises DataError, saying what to do, if there is none.

    The annotations may be COCO's own beside the images, or the authors' in `dataset_json_annotations`.
    """
    workspace = (os.environ if environ is None else environ).get(VARIABLE, "")
    if not workspace:
        raise DataError(
            f"There is nothing to train on: give --data FOLDER with photographs in COCO format, or set {VARIABLE} to a "
            f"folder with dataset_images/{_NAME}."
        )
    images = Path(workspace) / "dataset_images" / _NAME
    if not images.is_dir():
        raise DataError(f"{VARIABLE} names {workspace}, but there is no folder {images}: give --data FOLDER instead.")
    annotations = Path(workspace) / "dataset_json_annotations" / f"{_NAME}.json"
    if annotations.is_file():
        return images, annotations
    try:
        return find_coco(images)
    except DataError as error:
        raise DataError(
            f"The photographs in {images} have no annotations: put COCO's instances_train2017.json into "
            f"{images / 'annotations'}."
        ) from error


def from_authors_format(content: dict[str, Any]) -> dict[str, Any]:
    """COCO lists from the authors' annotation file, which keeps an image's masks as lists inside the image.

    Raises KeyError, TypeError or ValueError when the content is not of that form.
    """
    labels = content["meta"].get("category_labels") or {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for place, entry in enumerate(content["images"]):
        height, width = int(entry["height"]), int(entry["width"])
        image_id = entry.get("id", place)
        images.append({"id": image_id, "file_name": entry["image_path"], "height": height, "width": width})
        masks = entry["segmentations"]
        crowds = entry.get("iscrowd") or [0] * len(masks)
        areas = entry.get("areas") or [None] * len(masks)
        boxes = entry.get("bboxes") or [None] * len(masks)
        for counts, category, crowd, area, box in zip(masks, entry["categories"], crowds, areas, boxes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(category),
                    "segmentation": {"size": [height, width], "counts": counts},
                    "iscrowd": int(bool(crowd)),
                    **({"area": area} if area is not None else {}),
                    **({"bbox": box} if box is not None else {}),
                }
            )
    categories = [{"id": int(number), "name": str(name)} for number, name in labels.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
