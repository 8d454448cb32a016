"""What to look for: objects of a descriptor file, or of a photograph with a mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hodor_cli.descriptors.store.schema import VideoRows
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from hodor_cli.descriptors.export.encode import FrameEncoder


@dataclass(frozen=True)
class Query:
    """One object: its descriptors (K, C), a label for people, and where it comes from if that is a store.

    baseline: the backbone's features (K, B) of the same rows, None if they were not saved.
    """

    label: str
    descriptors: np.ndarray
    model_fingerprint: str
    baseline: np.ndarray | None = None
    thumbnail: bytes | None = None
    store: Path | None = None
    video: str | None = None
    object_id: int | None = None

    def is_in(self, store: DescriptorStore) -> bool:
        """True if the object was read from this store."""
        return self.store is not None and self.store.resolve() == store.path.resolve()


def parse_reference(argument: str) -> tuple[Path, str, int | None]:
    """ "FILE.h5#VIDEO/ID" -> (file, video, id); "FILE.h5#VIDEO" means all objects of the video and gives None.

    The names of files and of videos may hold a #: the first that leaves the name of a file that exists divides, or else
    the last. Raises UsageError for anything else.
    """
    marks = [place for place, letter in enumerate(argument) if letter == "#"]
    place = next((place for place in marks if Path(argument[:place]).is_file()), marks[-1] if marks else 0)
    file, rest = argument[:place], argument[place + 1 :]
    video, slash, number = rest.partition("/")
    if not file or not video or (slash and not (number.isdecimal() and len(number) < 11)):
        raise UsageError(f"{argument!r} names no stored object; write FILE.h5#VIDEO/ID, for example objects.h5#bear/1")
    return Path(file), video, int(number) if slash else None


def queries_of_store(argument: str) -> list[Query]:
    """The object (or all objects of the video) that "FILE.h5#VIDEO/ID" names."""
    path, video, object_id = parse_reference(argument)
    with DescriptorStore(path) as store:
        ids = store.object_ids(video) if object_id is None else [object_id]
        if not ids:
            raise InputError(f"{path} has no objects in video {video}; choose another video")
        queries = []
        rows = store.rows(video)
        baseline = store.dataset(video, "baseline") if store.has(video, "baseline") else None
        for value in ids:
            one = store.object(video, value) if object_id is not None else rows.select(rows.object_id == value)
            best = _row_to_show(rows, value)
            queries.append(
                Query(
                    label=f"{video}/{value}",
                    descriptors=one.descriptor,
                    model_fingerprint=store.info.model_fingerprint,
                    baseline=None if baseline is None else baseline[rows.object_id == value],
                    thumbnail=store.thumbnails(video, np.array([best]))[0],
                    store=path,
                    video=video,
                    object_id=value,
                )
            )
    return queries


def queries_of_image(image: Path, mask: Path, encoder: FrameEncoder) -> list[Query]:
    """Each object of a photograph that a mask file marks. Raises InputError if the two do not fit."""
    from hodor_cli.datasets.labels.mask_file import read_mask
    from hodor_cli.descriptors.export.export import store_info
    from hodor_cli.descriptors.store.crops import check_masks, crop_jpeg, masks_of_labels
    from hodor_cli.images.extent import box_of
    from hodor_cli.images.picture import read_picture

    picture = read_picture(image)
    labels = read_mask(mask).labels
    check_masks({0: labels > 0}, picture, f"{mask} for {image}")
    masks = masks_of_labels(labels)
    if not masks:
        raise InputError(f"{mask} marks no object; draw the object with a value other than 0")
    encoded = encoder.encode(picture, masks)
    fingerprint = store_info(encoder.model).model_fingerprint
    queries = []
    for object_id, mask_of_object in masks.items():
        box = box_of(mask_of_object)
        crop = crop_jpeg(picture, mask_of_object, box) if box else None
        label = image.name if len(masks) == 1 else f"{image.name} object {object_id}"
        queries.append(
            Query(
                label,
                encoded.objects[object_id][None],
                fingerprint,
                baseline=encoded.baseline[object_id][None],
                thumbnail=crop,
                object_id=object_id,
            )
        )
    return queries


class SavedObjects(NamedTuple):
    """What a run without masks starts from.

    objects: {id: (K, C)} descriptors. background: (9, C). baseline: {id: (K, B)} features of the same rows, of those
    objects that have them.
    """

    objects: dict[int, np.ndarray]
    background: np.ndarray
    model_fingerprint: str
    baseline: dict[int, np.ndarray]


def start_descriptors(arguments: list[str], *, most: int = 8) -> SavedObjects:
    """What `Segmenter.start_from` needs for "FILE.h5#VIDEO/ID" arguments, and what tells whether the objects are there.

    Each object gives at most `most` of its descriptors, spread evenly over its frames. Ids are kept where they are all
    different, otherwise objects are numbered from 1. The background (9, C) is that of the last frame of the first
    argument's video: even another scene's does better than none (`benchmarks/from_descriptors.py`).
    """
    queries = [query for argument in arguments for query in queries_of_store(argument)]
    fingerprints = {query.model_fingerprint for query in queries}
    if len(fingerprints) > 1:
        raise InputError(
            "the given objects were saved with different models and cannot be mixed; export one file again"
        )
    ids = [query.object_id or 0 for query in queries]
    if len(set(ids)) < len(ids):
        ids = list(range(1, len(queries) + 1))
    named = dict(zip(ids, queries, strict=True))
    objects = {key: spread(query.descriptors, most) for key, query in named.items()}
    baseline = {key: spread(query.baseline, most) for key, query in named.items() if query.baseline is not None}
    path, video, _ = parse_reference(arguments[0])
    with DescriptorStore(path) as store:
        saved, _ = store.background(video)
    if not len(saved):
        raise InputError(f"{path} has no background descriptors for {video}; export it again")
    return SavedObjects(objects, saved[-1], fingerprints.pop(), baseline)


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` rows, evenly spaced, the first and the last among them."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _row_to_show(rows: VideoRows, object_id: int) -> int:
    """The row of an object in which it is largest among those with a confidence near its best."""
    mine = np.flatnonzero(rows.object_id == object_id)
    sure = mine[rows.confidence[mine] >= 0.95 * rows.confidence[mine].max()]
    return int(sure[np.argmax(rows.area[sure])])
