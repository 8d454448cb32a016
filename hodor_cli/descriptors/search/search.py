"""Finding an object again in a library: rank the stored objects by similarity, and verify that it is really there.

To verify a match, the query's descriptors are decoded in the match's best frame, together with the background saved for
that frame, and the resulting mask is encoded again. If the object is there, a mask is found and its descriptor is near
the query's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from hodor_cli.datasets.coco import read_photograph
from hodor_cli.datasets.coco_find import ImageFinder
from hodor_cli.descriptors.export.encode import FrameEncoder
from hodor_cli.descriptors.export.sources import image_folders
from hodor_cli.descriptors.search.comparison import Comparison, Metric, Vectors, distances, unsquared
from hodor_cli.descriptors.search.query import Query, spread
from hodor_cli.descriptors.store import hdf5
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.engine import Segmenter
from hodor_cli.errors import HodorError, InputError
from hodor_cli.images.label_png import box_of
from hodor_cli.video.source import open_source

QUERY_ROWS = 32  # most descriptors of a query that a search uses, spread over its frames
DECODED_ROWS = 8  # most descriptors of a query that are decoded to verify a match


@dataclass(frozen=True)
class Match:
    """One object of the library.

    distance: mean over the query's descriptors of the distance to the nearest descriptor of this object; Euclidean, or
    one minus the cosine. best_row: the object's nearest row, as an index into the store (`DescriptorStore.index`).
    Times are seconds from the start of the source, None for stills, which have an image_name instead.
    """

    video: str
    object_id: int
    distance: float
    frames: int
    first_frame: int
    last_frame: int
    best_frame: int
    best_row: int
    first_time: float | None
    last_time: float | None
    best_time: float | None
    source: str
    image_name: str | None


def search_objects(
    store: DescriptorStore,
    query: Query,
    *,
    comparison: Comparison | None = None,
    metric: Metric = "euclidean",
    top: int = 20,
) -> list[Match]:
    """The objects most similar to the query, nearest first. The search is exact and reads the store once, in blocks.

    comparison: what to compare, the descriptors by default; `choose_comparison` returns the best that a store allows.
    The query's own object, if it is in this store, is left out.

    Raises InputError if the query comes from another model, the store is empty, or one of the two was saved without the
    features to compare.
    """
    if query.model_fingerprint != store.info.model_fingerprint:
        way_out = "export one of them again" if query.store else "encode it"
        same = "the weights of the other" if query.store else "the weights of the library (`weights`)"
        raise InputError(
            f"{query.label} comes from another model than {store.path} "
            f"({query.model_fingerprint[:12]} and {store.info.model_fingerprint[:12]}); {way_out} with {same}"
        )
    index = store.index()
    if not len(index):
        raise InputError(f"{store.path} holds no objects to search; export some videos into it first")
    comparison = comparison or Comparison()
    stored = comparison.vectors(store)
    width = stored.read(0, 1).shape[1]
    vectors = spread(comparison.query_vectors(query), QUERY_ROWS)
    if vectors.shape[1] != width:
        lengths = f"have length {vectors.shape[1]} and those of {store.path} {width}"
        raise InputError(f"the vectors of {query.label} {lengths}; export it again with the same weights")
    instance = index.instance
    nearest, row = _nearest(stored, instance, vectors, metric)
    score = unsquared(nearest, metric).mean(axis=0)
    # Rows of a video are in the order of its frames.
    _, first, count = np.unique(instance, return_index=True, return_counts=True)
    last = len(index) - 1 - np.unique(instance[::-1], return_index=True)[1]
    inside = query.store is not None and query.store.resolve() == store.path.resolve()
    matches: list[Match] = []
    for number in np.argsort(score, kind="stable"):
        if len(matches) == top:
            break
        best, start, end = int(row[number]), int(first[number]), int(last[number])
        video, object_id = index.videos[index.video[best]], int(index.object_id[best])
        if inside and (video, object_id) == (query.video, query.object_id):
            continue
        found = Match(
            video, object_id, distance=float(score[number]), frames=int(count[number]),
            first_frame=int(index.frame[start]), last_frame=int(index.frame[end]), best_frame=int(index.frame[best]),
            first_time=index.time(start), last_time=index.time(end), best_time=index.time(best), best_row=best,
            source=store.video(video).source, image_name=store.image_name(video, object_id),
        )  # fmt: skip
        matches.append(found)
    return matches


def _nearest(
    stored: Vectors, instance: np.ndarray, vectors: np.ndarray, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (K, M) from each of K vectors to the nearest row of each of M objects, and the row (M,) of each object
    that is nearest to any vector.

    instance: the object (N,) of each stored row, 0..M-1.
    """
    nearest = np.full((len(vectors), int(instance.max()) + 1), np.inf)
    row = np.zeros(nearest.shape[1], np.int64)
    for start, values in stored:
        # In float32, equal vectors would seem to be apart.
        matrix = distances(vectors.astype(np.float64), values.astype(np.float64), metric)
        here, closest = instance[start : start + len(values)], matrix.min(axis=0)
        order = np.lexsort((closest, here))  # by object, its nearest row first
        begins = np.flatnonzero(np.diff(here[order], prepend=-1))
        best = order[begins]
        objects = here[best]
        better = closest[best] < nearest[:, objects].min(axis=0)
        row[objects[better]] = start + best[better]
        lowest = np.minimum.reduceat(matrix[:, order], begins, axis=1)
        nearest[:, objects] = np.minimum(nearest[:, objects], lowest)
    return nearest, row


@dataclass(frozen=True)
class VerifiedMatch:
    """A match and the result of decoding the query in its best frame.

    found: whether a mask was found. overlap: intersection over union of its box and the stored object's. distance: mean
    over the query's rows of the distance to the found object (infinite if there is none). problem: why the frame could
    not be read, or empty.
    """

    match: Match
    found: bool = False
    confidence: float = 0.0
    overlap: float = 0.0
    distance: float = math.inf
    problem: str = ""


def verify_matches(
    store: DescriptorStore,
    query: Query,
    matches: Sequence[Match],
    segmenter: Segmenter,
    *,
    comparison: Comparison | None = None,
    metric: Metric = "euclidean",
    progress: Callable[[int], None] | None = None,
) -> list[VerifiedMatch]:
    """Decode the query in each match's best frame, and rank the matches again, nearest first.

    They are ranked by the sum of the search distance and the distance to the found object, which alone ranks worse.

    comparison: as in `search_objects`. Matches whose source has moved or changed cannot be checked; they come last,
    with the reason.
    """
    encoder, comparison = FrameEncoder.like(segmenter), comparison or Comparison()
    asked = spread(comparison.query_vectors(query), DECODED_ROWS)

    def verified(match: Match) -> VerifiedMatch:
        image = _read_frame(store, match)
        background, frames = store.background(match.video)
        scene = background[np.abs(frames - match.best_frame).argmin()] if len(frames) else None
        segmenter.reset()
        segmenter.start_from({1: spread(query.descriptors, DECODED_ROWS)}, scene)
        mask = segmenter.step(image) == 1
        if (box := box_of(mask)) is None:
            return VerifiedMatch(match)
        # Encoded like the stored rows: from a hard mask, without history.
        found = encoder.encode(image, {1: mask})
        seen = replace(query, descriptors=found.objects[1][None], baseline=found.baseline[1][None])
        nearest = distances(asked, comparison.query_vectors(seen), metric)
        distance = float(unsquared(nearest, metric).mean())
        stored = store.read("box", match.best_row, match.best_row + 1)
        overlap = float(coco_mask.iou(np.array([box], float), stored.astype(float), [False])[0, 0])
        return VerifiedMatch(match, True, segmenter.last.objects[1].confidence, overlap, distance)

    results = []
    for number, match in enumerate(matches):
        try:
            results.append(verified(match))
        except HodorError as error:
            results.append(VerifiedMatch(match, problem=str(error)))
        if progress is not None:
            progress(number + 1)
    return sorted(results, key=lambda result: (bool(result.problem), result.distance + result.match.distance))


def _read_frame(store: DescriptorStore, match: Match) -> NDArray[np.uint8]:
    """The image (H, W, 3) uint8 RGB of a match's best frame, from its source. Raises InputError if that is gone."""
    info = store.video(match.video)
    path = Path(info.source)
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} no longer exists; put it back, or export {match.video} again from its new place")
    if match.image_name is not None:
        folders = [Path(info.settings["images"])] if "images" in info.settings else image_folders(path)
        found = next(filter(None, (ImageFinder(folder).find(match.image_name) for folder in folders)), None)
        if found is None:
            raise InputError(f"the image {match.image_name} is no longer in {folders[-1]}; put it back to verify")
        return read_photograph(found)
    with hdf5.reading(store.path, match.video):
        given = info.settings.get("value_range")
        scale = None if given is None else (float(given[0]), float(given[1]))
        source = open_source(path, value_range=scale, axes=info.settings.get("axes"))
    with source:
        for frame in source.between(match.best_frame, match.best_frame + 1):
            if frame.image.shape[:2] != (info.height, info.width):
                raise InputError(f"{path} has changed since {match.video} was saved; export it again")
            return frame.image
    raise InputError(f"{path} no longer has a frame {match.best_frame}; export {match.video} again")
