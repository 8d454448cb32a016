"""What to look for: objects of a descriptor file, or objects marked in a photo or a video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hodor_cli.descriptors.export.encode import FrameEncoder, object_rows
from hodor_cli.descriptors.export.sources import LabelledFrame
from hodor_cli.descriptors.store.schema import ObjectRow
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import InputError, UsageError
from hodor_cli.images.spacing import evenly_spaced
from hodor_cli.weights.checkpoint import model_fingerprint


@dataclass(frozen=True)
class Query:
    """One object: its descriptors (K, C), a label for people, and where it comes from if that is a store.

    baseline: the backbone's features (K, B) of the same rows, None if they were not saved.
    """

    label: str
    descriptors: np.ndarray
    model_fingerprint: str
    object_id: int
    baseline: np.ndarray | None = None
    thumbnail: bytes | None = None
    store: Path | None = None
    video: str | None = None


def parse_reference(argument: str) -> tuple[Path, str, int | None]:
    """ "FILE.h5#VIDEO/ID" -> (file, video, id); "FILE.h5#VIDEO" means all objects of the video and gives None.

    File and video names may contain #: the text is split at the first # that follows the name of an existing file, or
    else at the last #. Raises UsageError for anything else.
    """
    marks = [place for place, letter in enumerate(argument) if letter == "#"]
    place = next((place for place in marks if Path(argument[:place]).is_file()), marks[-1] if marks else 0)
    file, rest = argument[:place], argument[place + 1 :]
    video, slash, number = rest.partition("/")
    if not file or not video or (slash and not (number.isdecimal() and len(number) < 11)):
        raise UsageError(f"{argument!r} does not name a stored object; write FILE.h5#VIDEO/ID, like objects.h5#bear/1")
    return Path(file), video, int(number) if slash else None


def queries_of_store(argument: str | Path) -> list[Query]:
    """The object (or all objects of the video) that "FILE.h5#VIDEO/ID" names."""
    path, video, object_id = parse_reference(str(argument))
    with DescriptorStore(path) as store:
        found = store.rows(video) if object_id is None else store.object(video, object_id)
        if not len(found):
            raise InputError(f"{path} has no objects in video {video}; choose another video")
        all_ids = store.dataset(video, "object_id")
        baseline = store.dataset(video, "baseline") if store.has(video, "baseline") else None
        queries = []
        for value in np.unique(found.object_id).tolist():
            rows, mine = found.select(found.object_id == value), all_ids == value
            # Shown by its largest crop among those with nearly its best confidence.
            sure = rows.confidence >= 0.95 * rows.confidence.max()
            shown = np.flatnonzero(mine)[[int(np.argmax(np.where(sure, rows.area, -1)))]]
            features = None if baseline is None else baseline[mine]
            crop, model = store.thumbnails(video, shown)[0], store.info.model_fingerprint
            queries.append(Query(f"{video}/{value}", rows.descriptor, model, value, features, crop, path, video))
        return queries


def queries_of_frames(frames: Iterable[LabelledFrame], name: str, encoder: FrameEncoder) -> list[Query]:
    """One query per object marked in frames of the photo or video `name`, with a descriptor from each of its frames and
    the crop from the first. Raises InputError if none is marked."""
    rows: dict[int, list[ObjectRow]] = {}
    for frame in frames:
        encoded = encoder.encode(frame.image, frame.masks)
        for row in object_rows(frame, encoded.objects, encoded.baseline):
            rows.setdefault(row.object_id, []).append(row)
    if not rows:
        raise InputError(f"no object is marked in {name}; mark one with a `mask`, a `box` or a `click`")
    queries, model = [], model_fingerprint(encoder.model)
    for object_id, of_object in sorted(rows.items()):
        label = name if len(rows) == 1 else f"{name} object {object_id}"
        descriptors = np.stack([row.descriptor for row in of_object])
        features = np.stack([row.baseline for row in of_object if row.baseline is not None])
        queries.append(Query(label, descriptors, model, object_id, features, of_object[0].thumbnail))
    return queries


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` rows, evenly spaced, including the first and the last."""
    return rows[evenly_spaced(len(rows), most)]
