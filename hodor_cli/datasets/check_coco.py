"""The check of photographs in COCO format."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hodor_cli.datasets.check import CheckReport, Progress
from hodor_cli.datasets.coco import annotation_extent, image_folders, image_size, read_annotations, read_image
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.datasets.rle import decode_segmentation
from hodor_cli.errors import DataError

_AREA_TOLERANCE = 0.2  # an `area` field further off than this share is worth a line


def check_coco(
    images: Path, annotations: Path, limits: ObjectLimits, *, full: bool = False, progress: Progress | None = None
) -> CheckReport:
    """Check one COCO file and its images; see `check_dataset`. Raises DataError if the file itself cannot be read."""
    content = read_annotations(annotations)
    report = CheckReport(annotations, "coco", full)
    known = _check_images(content["images"], report)
    per_image = _check_annotations(content, known, report)
    folders = _listing(image_folders(images))
    report.images = len(known)
    small = 0
    for done, (image_id, image) in enumerate(known.items(), start=1):
        name = str(image["file_name"])
        path = next((folder / name for folder, names in folders if _has(folder, names, name)), None)
        height, width = image_size(image)
        usable = 0
        if path is None:
            report.add("missing image", name)
        elif full:
            height, width = _check_picture(path, height, width, report)
        for annotation in per_image.get(image_id, ()):
            if not _check_mask(annotation, name, height, width, report, full=full):
                continue
            if limits.accepts(*annotation_extent(annotation, height, width), height, width):
                usable += 1
            else:
                small += 1
        if path is not None and usable:
            report.samples += 1
            report.objects += usable
        if progress is not None:
            progress(done, len(known))
    _summarise(report, limits, small, len(known), per_image)
    return report


def _check_images(images: Sequence[Any], report: CheckReport) -> dict[Any, dict[str, Any]]:
    """Usable image entries by id; duplicates and entries without the needed fields are noted."""
    known: dict[Any, dict[str, Any]] = {}
    names: Counter[str] = Counter()
    for place, image in enumerate(images):
        if not isinstance(image, dict) or "id" not in image or not image.get("file_name"):
            report.add("image entry without id or file_name", f"images[{place}]")
            continue
        if image["id"] in known:
            report.add("duplicate image id", image["id"], f"{known[image['id']]['file_name']} and {image['file_name']}")
            continue
        if not all(image_size(image)):
            report.add("image entry without height or width", image["file_name"])
        known[image["id"]] = image
        names[str(image["file_name"])] += 1
    for name, count in names.items():
        if count > 1:
            report.add("image listed more than once", name, f"{count} entries")
    return known


def _check_annotations(
    content: dict[str, Any], known: dict[Any, Any], report: CheckReport
) -> dict[Any, list[dict[str, Any]]]:
    """The annotations by image, crowds left out; duplicates and strays are noted."""
    categories = {item.get("id") for item in content.get("categories", []) if isinstance(item, dict)}
    seen: set[Any] = set()
    per_image: dict[Any, list[dict[str, Any]]] = {}
    crowds = 0
    for place, annotation in enumerate(content["annotations"]):
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            report.add("annotation without image_id", f"annotations[{place}]")
            continue
        number = annotation.get("id")
        if number is not None and number in seen:
            report.add("duplicate annotation id", number)
        seen.add(number)
        if annotation["image_id"] not in known:
            report.add("annotation of an unknown image", f"annotation {number}", f"image {annotation['image_id']}")
        elif annotation.get("iscrowd"):
            crowds += 1
        else:
            per_image.setdefault(annotation["image_id"], []).append(annotation)
        if categories and annotation.get("category_id") not in categories:
            report.add(
                "annotation of an unknown category", f"annotation {number}", str(annotation.get("category_id")),
                serious=False,
            )  # fmt: skip
    if crowds:
        report.facts.append(f"{crowds} crowd annotations are left out.")
    return per_image


def _check_picture(path: Path, height: int, width: int, report: CheckReport) -> tuple[int, int]:
    try:
        actual = read_image(path).shape[:2]
    except DataError as error:
        report.add("broken image", path.name, str(error))
        return height, width
    if height and width and actual != (height, width):
        report.add("size mismatch", path.name, f"the file is {actual[1]}x{actual[0]}, annotated {width}x{height}")
    return height, width


def _check_mask(
    annotation: dict[str, Any], name: str, height: int, width: int, report: CheckReport, *, full: bool
) -> bool:
    """Whether the annotation's mask can be used. Quick: its form and size; full: every pixel."""
    where = f"annotation {annotation.get('id')} of {name}"
    segmentation = annotation.get("segmentation")
    if not segmentation:
        report.add("empty mask", where, "no segmentation", serious=False)
        return False
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        if isinstance(size, list) and len(size) == 2 and size != [height, width]:
            report.add("size mismatch", where, f"mask {size[1]}x{size[0]}, image {width}x{height}")
            return False
    if not full:
        return True
    try:
        mask = decode_segmentation(segmentation, height, width)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        report.add("broken mask", where, str(error))
        return False
    area = int(np.count_nonzero(mask))
    if area == 0:
        report.add("empty mask", where, "no pixel", serious=False)
        return False
    stated = annotation.get("area")
    if isinstance(stated, (int, float)) and abs(stated - area) > _AREA_TOLERANCE * max(area, 100):
        report.add("area field far off", where, f"{stated:g}, the mask has {area}", serious=False)
    return True


def _summarise(
    report: CheckReport, limits: ObjectLimits, small: int, images: int, per_image: dict[Any, list[dict[str, Any]]]
) -> None:
    if small:
        at = "" if limits.at_area is None else f" in an image scaled to {limits.at_area:,.0f} px"
        report.facts.append(
            f"{small} objects are below the limits (area {limits.min_area:g} px, sides {limits.min_side:g} px{at})."
        )
    bare = images - len(per_image)
    if bare > 0:
        report.facts.append(f"{bare} photographs have no annotation.")


def _listing(folders: Sequence[Path]) -> list[tuple[Path, set[str]]]:
    """Each folder with the names in it: one listing is quicker than asking for every file."""
    return [(folder, {entry.name for entry in os.scandir(folder)}) for folder in folders]


def _has(folder: Path, names: set[str], name: str) -> bool:
    return (folder / name).is_file() if "/" in name or "\\" in name else name in names
