"""Checking a match: is the object really in that frame?

The query's descriptors are decoded into the candidate's best frame, against that frame's own saved background, and what
they find is encoded again. An object that is there is found, and what was encoded lies near the query's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from hodor_cli.datasets.coco import read_photograph
from hodor_cli.datasets.coco_find import ImageFinder
from hodor_cli.descriptors.export.encode import FrameEncoder
from hodor_cli.descriptors.search.comparison import Comparison
from hodor_cli.descriptors.search.query import Query, spread
from hodor_cli.descriptors.search.search import Match
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.descriptors.store.vectors import Metric, distances
from hodor_cli.engine import Segmenter
from hodor_cli.errors import HodorError, InputError
from hodor_cli.images.extent import box_of
from hodor_cli.video.source import open_source

DECODED_ROWS = 8


@dataclass(frozen=True)
class VerifiedMatch:
    """A match with what decoding said.

    found: something was segmented. overlap: intersection over union of the boxes of what was found and of the stored
    object. distance: mean over the query's rows of the distance to what was found (infinite if nothing). problem: why
    the frame could not be read, empty otherwise.
    """

    match: Match
    found: bool
    confidence: float
    overlap: float
    distance: float
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
    """Decode the query into each match's best frame and rank by the sum of the search's distance and that to what is
    found there, nearest first; what is found alone ranks worse.

    comparison: as in `search_objects`. A frame whose source has moved or changed cannot be checked; such matches come
    last, with the reason.
    """
    encoder, comparison = FrameEncoder.like(segmenter), comparison or Comparison()
    asked = spread(comparison.of_query(query), DECODED_ROWS)
    results = []
    for number, match in enumerate(matches):
        try:
            image, mask = _decoded(store, query, match, segmenter)
            box = box_of(mask)
            if box is None:
                results.append(VerifiedMatch(match, False, 0.0, 0.0, float("inf")))
            else:
                # Encoded as stored rows are, from a hard mask without history.
                found = encoder.encode(image, {1: mask})
                seen = replace(query, descriptors=found.objects[1][None], baseline=found.baseline[1][None])
                nearest = distances(asked, comparison.of_query(seen), metric)
                distance = float((np.sqrt(nearest) if metric == "euclidean" else nearest).mean())
                rows = store.object(match.video, match.object_id)
                stored = rows.box[int(np.abs(rows.frame - match.best_frame).argmin())]
                overlap = float(coco_mask.iou(np.array([box], float), stored[None].astype(float), [False])[0, 0])
                confidence = segmenter.last.objects[1].confidence
                results.append(VerifiedMatch(match, True, confidence, overlap, distance))
        except HodorError as error:
            results.append(VerifiedMatch(match, False, 0.0, 0.0, float("inf"), str(error)))
        if progress is not None:
            progress(number + 1)
    return sorted(results, key=lambda result: (bool(result.problem), result.distance + result.match.distance))


def read_frame(store: DescriptorStore, match: Match) -> NDArray[np.uint8]:
    """The image (H, W, 3) uint8 RGB of a match's best frame, from its source. Raises InputError if that is gone."""
    info = store.video(match.video)
    path = Path(info.source)
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"the source {path} of {match.video} is not there any more; put it back to verify")
    if info.kind == "stills":
        row = int(np.flatnonzero(store.dataset(match.video, "object_id") == match.object_id)[0])
        name = store.dataset(match.video, "image_name")[row].decode()
        found = ImageFinder(path.parent).find(name)
        if found is None:
            raise InputError(f"the image {name} of {match.video} is not beside {path} any more; put it back to verify")
        return read_photograph(found)
    with open_source(path, start=match.best_frame, end=match.best_frame + 1) as source:
        for frame in source:
            if frame.image.shape[:2] != (info.height, info.width):
                raise InputError(f"{path} has changed since {match.video} was saved; export it again")
            return frame.image
    raise InputError(f"{path} has no frame {match.best_frame} any more; export {match.video} again")


def _decoded(
    store: DescriptorStore, query: Query, match: Match, segmenter: Segmenter
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A match's best frame, and the mask (H, W) of what the query's descriptors find in it."""
    image = read_frame(store, match)
    background, frames = store.background(match.video)
    scene = background[np.abs(frames - match.best_frame).argmin()] if len(frames) else None
    segmenter.reset()
    segmenter.start_from({1: spread(query.descriptors, DECODED_ROWS)}, scene)
    return image, segmenter.step(image) == 1
