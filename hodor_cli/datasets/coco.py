"""Labelled photographs in COCO format."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.datasets.rle import decode_segmentation
from hodor_cli.errors import DataError


@dataclass(frozen=True)
class StillObject:
    """One object of a photograph: its annotation id, category name, and (H, W) bool mask."""

    annotation_id: int
    category: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Still:
    """One photograph, (H, W, 3) uint8 RGB, with its usable objects."""

    image: NDArray[np.uint8]
    objects: list[StillObject]
    name: str
    source: str

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        """The objects' masks alone."""
        return [item.mask for item in self.objects]


@dataclass(frozen=True)
class _Entry:
    image_id: int | str
    file_name: str
    height: int
    width: int
    source: str
    coverage: str
    num_objects: int


def find_coco(folder: Path) -> tuple[Path, Path]:
    """(image folder, annotation file) of a COCO-format folder.

    The annotations are `instances.json`, any other single JSON beside the images, or `annotations/instances*.json`.
    Raises DataError when there is none, or several and no way to choose.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} to read training images from.")
    if (folder / "instances.json").is_file():
        return folder, folder / "instances.json"
    for candidates in (
        sorted((folder / "annotations").glob("instances*.json")),
        sorted((folder / "annotations").glob("*.json")),
        sorted(folder.glob("*.json")),
    ):
        if len(candidates) > 1:
            # COCO ships training and validation side by side: the training one is meant.
            candidates = [path for path in candidates if "train" in path.stem] or candidates
        if len(candidates) == 1:
            return folder, candidates[0]
        if candidates:
            names = ", ".join(path.name for path in candidates[:4])
            raise DataError(
                f"{folder} has several annotation files ({names}): name one with --images and --annotations."
            )
    raise DataError(
        f"{folder} has no COCO annotations: an instances.json or annotations/*.json is expected beside the images."
    )


class StillImages:
    """A COCO-format set of photographs, those with at least one object within the limits.

    Crowds are left out. Polygons and run lengths are read, compressed or not. Masks are decoded when a photograph is
    loaded, so the set itself stays small. Raises DataError when the annotations cannot be read or nothing is left.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        images_dir: str | Path | None = None,
        annotations_file: str | Path | None = None,
        limits: ObjectLimits | None = None,
    ) -> None:
        self.limits = limits or ObjectLimits()
        if annotations_file is not None and images_dir is not None:
            images, annotations = Path(images_dir), Path(annotations_file)
        elif folder is not None:
            images, annotations = find_coco(Path(folder))
        else:
            raise DataError("A folder, or both images and annotations, must be named.")
        self.annotations_file = annotations
        self.image_folders = image_folders(images)
        content = read_annotations(annotations)
        self._categories = {item["id"]: str(item.get("name", item["id"])) for item in content.get("categories", [])}
        self._entries, packed = self._index(content)
        if not self._entries:
            raise DataError(f"{annotations} has no image with an object within the limits ({self.describe_limits()}).")
        # The masks of all images stay packed in one buffer: as Python objects those of COCO would take gigabytes, and
        # every worker process would come to own a copy of them.
        self._ends = np.cumsum([len(text) for text in packed])
        self._packed = np.frombuffer(b"".join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def image_ids(self) -> list[int | str]:
        """COCO image id of each photograph."""
        return [entry.image_id for entry in self._entries]

    @property
    def sources(self) -> list[str]:
        """The `source` field of each photograph ("" where there is none)."""
        return [entry.source for entry in self._entries]

    @property
    def groups(self) -> list[str]:
        """`source/coverage` of each photograph, or `source` where it has no `coverage`: what sampling balances."""
        return [f"{entry.source}/{entry.coverage}" if entry.coverage else entry.source for entry in self._entries]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each photograph, as annotated."""
        return [(entry.height, entry.width) for entry in self._entries]

    @property
    def object_counts(self) -> list[int]:
        """How many usable objects each photograph has (not cut at `max_objects`)."""
        return [entry.num_objects for entry in self._entries]

    def name(self, index: int) -> str:
        """The photograph's file name."""
        return self._entries[index].file_name

    def describe_limits(self) -> str:
        """The limits in words."""
        limits = self.limits
        at = "" if limits.at_area is None else f" in an image scaled to {limits.at_area:,.0f} px"
        return f"area >= {limits.min_area:g} px and sides >= {limits.min_side:g} px{at}"

    def load(self, index: int) -> Still:
        """The photograph and all its usable objects. Raises DataError naming the file when it cannot be read."""
        entry = self._entries[index]
        image = self.load_image(index)
        height, width = image.shape[:2]
        if (height, width) != (entry.height, entry.width):
            raise DataError(
                f"{entry.file_name} is {width}x{height} but annotated as {entry.width}x{entry.height}: "
                "see `hodor data check`."
            )
        objects = []
        for annotation in self._annotations(index):
            try:
                mask = decode_segmentation(annotation["segmentation"], height, width)
            except (ValueError, TypeError, KeyError) as error:
                broken = f"Annotation {annotation.get('id')} of {entry.file_name} is broken: {error}."
                raise DataError(broken) from error
            category = self._categories.get(annotation.get("category_id"), "object")
            objects.append(StillObject(int(annotation.get("id") or 0), category, mask))
        return Still(image, objects, entry.file_name, entry.source)

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """The photograph alone, (H, W, 3) uint8 RGB."""
        entry = self._entries[index]
        path = find_image(self.image_folders, entry.file_name)
        if path is None:
            raise DataError(f"The image {entry.file_name} named in {self.annotations_file} is missing.")
        return read_image(path)

    def _annotations(self, index: int) -> list[dict[str, Any]]:
        start = int(self._ends[index - 1]) if index else 0
        annotations: list[dict[str, Any]] = json.loads(self._packed[start : int(self._ends[index])].tobytes())
        return annotations

    def _index(self, content: dict[str, Any]) -> tuple[list[_Entry], list[bytes]]:
        """The usable images, and for each the JSON of its usable annotations."""
        per_image: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            if isinstance(annotation, dict) and not annotation.get("iscrowd"):
                per_image.setdefault(annotation.get("image_id"), []).append(annotation)
        entries, packed = [], []
        for image in content["images"]:
            if not isinstance(image, dict) or "id" not in image or not image.get("file_name"):
                continue
            height, width = image_size(image)
            usable = [
                {key: annotation.get(key) for key in ("id", "category_id", "segmentation")}
                for annotation in per_image.get(image["id"], ())
                if self.limits.accepts(*annotation_extent(annotation, height, width), height, width)
            ]
            if usable:
                source, coverage = str(image.get("source") or ""), str(image.get("coverage") or "")
                name = str(image["file_name"])
                entries.append(_Entry(image["id"], name, height, width, source, coverage, len(usable)))
                packed.append(json.dumps(usable).encode())
        return entries, packed


def image_size(image: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of an image entry; 0 for what is missing or no number."""

    def number(value: Any) -> int:
        return int(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else 0

    return number(image.get("height")), number(image.get("width"))


def annotation_extent(annotation: dict[str, Any], height: int, width: int) -> tuple[float, float, float]:
    """(area, box width, box height) of an annotation, from its own fields where it has them."""
    box = annotation.get("bbox")
    area = annotation.get("area")
    try:
        if area is not None and isinstance(box, Sequence) and len(box) == 4:
            return float(area), float(box[2]), float(box[3])
        mask = decode_segmentation(annotation.get("segmentation"), height, width)
    except (ValueError, TypeError, KeyError, IndexError):
        return 0.0, 0.0, 0.0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return 0.0, 0.0, 0.0
    return float(mask.sum()), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)


def read_annotations(path: Path) -> dict[str, Any]:
    """The parsed COCO file (or the authors' own form of it). Raises DataError when it is missing or neither."""
    try:
        with open(path, "rb") as file:
            content = json.load(file)
    except OSError as error:
        raise DataError(f"The annotations {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise DataError(f"The annotations {path} are not valid JSON: {error}.") from error
    if isinstance(content, dict) and "meta" in content and "annotations" not in content:
        from hodor_cli.datasets.workspace import from_authors_format

        try:
            content = from_authors_format(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} looks like the authors' annotations but cannot be read ({error!r}).") from error
    lists = ("images", "annotations")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise DataError(f"{path} is not in COCO format: the lists 'images' and 'annotations' are needed.")
    return content


def image_folders(root: Path) -> list[Path]:
    """Where a set's image files may lie: the folder, its `images`, or a split such as `train2017`."""
    folders = [root, root / "images", root / "train2017", root / "val2017", root / "train", root / "JPEGImages"]
    return [folder for folder in folders if folder.is_dir()]


def find_image(folders: Sequence[Path], file_name: str) -> Path | None:
    """The file of that name in one of the folders, or None."""
    for folder in folders:
        path = folder / file_name
        if path.is_file():
            return path
    return None


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8 RGB. Orientation tags are ignored, as COCO's annotations do."""
    import cv2

    try:
        data = np.fromfile(os.fspath(path), dtype=np.uint8)
    except OSError as error:
        raise DataError(f"The image {path} cannot be read: {error.strerror or error}.") from error
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise DataError(f"The image {path} is damaged or not an image.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
