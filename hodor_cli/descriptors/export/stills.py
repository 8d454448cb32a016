"""Photographs with labelled objects (COCO format) as sources for export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hodor_cli.descriptors.export.sources import ExportSource, LabelledFrame, hash_files
from hodor_cli.errors import InputError

#: Photographs per video of the store: a kill loses at most so many, and reading one does not touch the others.
STILLS_PER_VIDEO = 500


def coco_stills(
    folder: Path | None = None,
    *,
    images: Path | None = None,
    annotations: Path | None = None,
    every: int = 1,
    name: str | None = None,
) -> list[ExportSource]:
    """A COCO-format folder (or image folder and annotation file) in videos of 500 photographs, NAME-0000, NAME-0500 ...

    `frame` is the photograph's place in the set and `object_id` the annotation's id. Crowds are left out.
    Raises DataError if the set cannot be read.
    """
    from hodor_cli.datasets.coco import StillImages
    from hodor_cli.datasets.limits import ObjectLimits

    stills = StillImages(
        folder,
        images_dir=images,
        annotations_file=annotations,
        limits=ObjectLimits(min_area=1, min_side=1, max_objects=254, at_area=None),
    )
    base = name or (folder or annotations or Path("stills")).resolve().stem
    chosen = range(0, len(stills), every)
    sources = []
    for start in range(0, len(chosen), STILLS_PER_VIDEO):
        part = chosen[start : start + STILLS_PER_VIDEO]

        def frames(part: range = part) -> Iterator[LabelledFrame]:
            for index in part:
                still = stills.load(index)
                ids = [item.annotation_id for item in still.objects]
                if len(set(ids)) < len(ids) or not all(0 < value < 2**31 for value in ids):
                    raise InputError(
                        f"{stills.annotations_file} gives the objects of {still.name} no ids of their own in "
                        "1..2147483647; number its annotations"
                    )
                yield LabelledFrame(
                    index=index,
                    image=still.image,
                    masks={item.annotation_id: item.mask for item in still.objects},
                    image_name=still.name,
                    categories={item.annotation_id: item.category for item in still.objects},
                )

        def content(part: range = part) -> str:
            return hash_files([stills.annotations_file, *(stills.path(index) for index in part)])

        sources.append(
            ExportSource(
                name=f"{base}-{part[0]:04d}" if len(chosen) > STILLS_PER_VIDEO else base,
                path=str(stills.annotations_file.resolve()),
                kind="stills",
                height=0,
                width=0,
                fps=0.0,
                length=len(part),
                frames=frames,
                hash_content=content,
                settings={"every": every},
            )
        )
    return sources
