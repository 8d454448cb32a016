"""Labelled photographs in COCO format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.coco_file import Annotation, CocoFile, ImageEntry, read_coco
from hodor_cli.datasets.coco_find import ImageFinder, find_coco
from hodor_cli.datasets.faults import MISSING, OUTSIDE, DataSizeError, Faults
from hodor_cli.datasets.limits import ObjectLimits, area_and_sides
from hodor_cli.datasets.rle import (
    Segmentation,
    SizeMismatchError,
    check_segmentation,
    decode_segmentation,
    reaches_far_outside,
    why_empty,
)
from hodor_cli.errors import DataError, as_data_error
from hodor_cli.images.paths import size_text
from hodor_cli.images.picture import read_picture

#: The fault of an outline that covers no pixel because its coordinates do not fit its picture.
MISPLACED = "outline without a pixel"
_HINTS = 20  # missing files for which a similarly named file is looked for


@dataclass(frozen=True)
class StillObject:
    """An object in a photograph: its annotation id, category name, and (H, W) bool mask."""

    annotation_id: int
    category: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Still:
    """A photograph, (H, W, 3) uint8 RGB, with its usable objects."""

    image: NDArray[np.uint8]
    objects: list[StillObject]
    name: str

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        return [item.mask for item in self.objects]


class PhotoObject(NamedTuple):
    """An annotated object. number: its annotation id. name: its class, "" if it has none."""

    number: int
    name: str
    segmentation: Segmentation
    annotation: Annotation = Annotation(0)


@dataclass(frozen=True)
class Photographs:
    """What is annotated in photographs. classes: all, also without objects. Reading `entries` may add to `faults`."""

    faults: Faults
    classes: Iterable[str]
    entries: Iterable[tuple[ImageEntry, Iterable[PhotoObject]]]


class StillImages:
    """The photographs of a COCO-format set that have at least one object within the limits.

    folder: the photographs. annotations: a COCO file, or what is annotated; by default the file that `find_coco` finds.
    Masks may be polygons or run lengths, compressed or not; they are decoded when their photograph is loaded, so that
    the set needs little memory. Crowds, and photographs whose file is missing, are left out. `faults` lists the entries
    that cannot be used, `below_limits` counts the objects that are too small, and `classes` counts the others by class.
    If annotation ids are words or not unique, all are replaced by 1, 2, ... in file order. Raises DataError if the
    annotations cannot be read or, unless `allow_empty`, if no photograph is left.
    """

    def __init__(
        self,
        folder: str | Path,
        annotations: str | Path | Photographs | None = None,
        *,
        limits: ObjectLimits | None = None,
        allow_empty: bool = False,
    ) -> None:
        self.limits = limits or ObjectLimits()
        images = Path(folder)
        if not images.is_dir():
            raise DataError(f"there is no folder {images} to read training images from")
        if annotations is None:
            images, annotations = find_coco(images)
        if not isinstance(annotations, Photographs):
            coco = read_coco(Path(annotations))
            annotations = Photographs(coco.faults, coco.categories.values(), photographs_of(coco))
        self.annotations_file = annotations.faults.path
        self.finder = ImageFinder(images)
        self.faults: Faults = annotations.faults
        #: Number of images in the file, with or without objects.
        self.images_listed = 0
        #: The names of those without an object within the limits.
        self.without_objects: list[str] = []
        self.below_limits = 0
        #: For each outline that reaches far outside its photograph and is cut at the edge, the photograph's name.
        self.cut: list[str] = []
        self.classes = Counter(dict.fromkeys(annotations.classes, 0))
        self._images: list[ImageEntry] = []
        #: Number of usable objects of each photograph.
        self.object_counts: list[int] = []
        #: (height, width) of each photograph, as annotated.
        self.sizes: list[tuple[int, int]] = []
        # The usable objects of each image as JSON. As Python objects, COCO's annotations would need gigabytes, copied
        # into every worker process.
        self._packed: list[bytes] = []
        for image, objects in annotations.entries:
            self._add(image, objects)
        if not self._images and not allow_empty:
            broken = min(self.faults.found, key=lambda fault: not fault.serious, default=None)
            why = f"; {broken.kind}: {broken}{broken.way_out}" if broken is not None else ""
            small = self.below_limits or broken is None
            what = f"object within the limits ({self.limits})" if small else "photograph to train on"
            raise DataError(f"{self.annotations_file} has no {what}{why}")

    def __len__(self) -> int:
        return len(self._images)

    @property
    def groups(self) -> list[str]:
        """For each photograph `source/coverage`, or `source` if it has no coverage; sampling balances these groups."""
        return [f"{image.source or ''}{f'/{image.coverage}' if image.coverage else ''}" for image in self._images]

    def name(self, index: int) -> str:
        return self._images[index].file_name

    def path(self, index: int) -> Path:
        """The photograph's file. Raises DataError if it has been deleted."""
        name = self.name(index)
        path = self.finder.find(name)
        if path is None:
            raise DataError(f"the image {name} named in {self.annotations_file} is missing")
        return path

    def load(self, index: int) -> Still:
        """Load a photograph with all its usable objects. Raises DataError, which names the file, if unreadable."""
        entry = self._images[index]
        image = read_photograph(self.path(index))
        self.require_size(index, image.shape[:2])
        stored = msgspec.json.decode(self._packed[index])
        drawn = ((number, name or "object", decode_segmentation(what, *entry.size)) for number, name, what in stored)
        return Still(image, [StillObject(*one) for one in drawn], entry.file_name)

    def require_size(self, index: int, size: tuple[int, int]) -> None:
        """Raise DataSizeError unless `size`, the photograph's (height, width), is the annotated size."""
        annotated = self.sizes[index]
        if size != annotated:
            raise DataSizeError(
                f"{self.name(index)} is {size_text(size)} but annotated as {size_text(annotated)}"
                f"{turned_hint(size, annotated)}; annotate it at its own size"
            )

    def _add(self, image: ImageEntry, objects: Iterable[PhotoObject]) -> None:
        """Store a photograph if it has usable objects."""
        self.images_listed += 1
        usable = [one for one in objects if self._large_enough(one, image)]
        if not usable:
            self.without_objects.append(image.file_name)
        elif self._is_there(image):
            self._images.append(image)
            self.object_counts.append(len(usable))
            self.sizes.append(image.size)
            self.classes.update(one.name or "object" for one in usable)
            self._packed.append(msgspec.json.encode([one[:3] for one in usable]))

    def _is_there(self, image: ImageEntry) -> bool:
        """Whether the image's file exists; if not, add a fault."""
        if refusal := self.finder.refusal(image.file_name):
            self.faults.add(OUTSIDE, image.file_name, refusal)
        elif self.finder.find(image.file_name) is None:
            first = self.faults.counts[MISSING] < _HINTS
            self.faults.add(MISSING, image.file_name, self.finder.hint(image.file_name) if first else "", serious=False)
        else:
            return True
        return False

    def _large_enough(self, item: PhotoObject, image: ImageEntry) -> bool:
        area, box = item.annotation.area, item.annotation.bbox
        height, width = image.size
        if reaches_far_outside(item.segmentation, height, width):
            self.cut.append(image.file_name)
        if not area or area < 0 or box is None or len(box) != 4 or min(box[2:]) <= 0:  # some tools write 0
            area, *sides = area_and_sides(decode_segmentation(item.segmentation, height, width))
            box = [0, 0, *sides]
        accepted = self.limits.accepts(area, box[2], box[3], height, width)
        self.below_limits += not accepted
        return accepted


def photographs_of(content: CocoFile) -> Iterator[tuple[ImageEntry, list[PhotoObject]]]:
    """Each image of a COCO file with its objects; annotations without a valid outline become faults. Annotation ids are
    kept if all are unique numbers."""
    ids = [annotation.id for image in content.images for annotation in content.annotations.get(image, ())]
    kept = len(set(ids)) == len(ids) and all(isinstance(value, int) and 0 < value < 2**31 for value in ids)
    numbers = count(1)
    for image in content.images.values():
        objects = []
        for annotation, number in zip(content.annotations.get(image.id, ()), numbers, strict=False):
            where = f"annotation {annotation.id} of {image.file_name}"
            try:
                stored = msgspec.json.decode(annotation.segmentation)
                segmentation = check_segmentation(stored, *image.size) if stored else None
            except ValueError as error:
                kind = "size mismatch" if isinstance(error, SizeMismatchError) else "broken mask"
                content.faults.add(kind, where, str(error))
                continue
            if segmentation is not None:
                own = annotation.id if kept and isinstance(annotation.id, int) else number
                name = "" if annotation.category_id is None else content.categories.get(annotation.category_id, "")
                objects.append(PhotoObject(own, name, segmentation, annotation))
            elif annotation.bbox is not None and bytes(annotation.segmentation) in (b"null", b"[]"):
                content.faults.add("box without an outline", where, "export segmentation", serious=False)
            else:
                why = why_empty(stored, *image.size)
                content.faults.add(MISPLACED if why else "empty mask", where, why or "no pixel", serious=False)
        yield image, objects


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """Read an image file as upright (H, W, 3) uint8 RGB. Raises DataError, which names the file, if unreadable."""
    with as_data_error():
        return read_picture(path)


def turned_hint(actual: tuple[int, ...], annotated: tuple[int, ...]) -> str:
    """The end of a sentence about a size mismatch, if an orientation tag explains it."""
    if actual != annotated and actual == annotated[::-1]:
        return ", as if its EXIF orientation had been ignored when it was annotated"
    return ""
