"""Learning the projection from labelled photographs: no video and no gradient step is needed.

Each photograph becomes a short sequence as for training the network: its objects move, the background changes, colours
shift. The rows of one object then differ only in ways that should not matter. Directions in which objects vary around
their own mean are shrunk, and those in which the means differ most are kept (linear discriminant analysis).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.descriptors.export.encode import FrameEncoder
from hodor_cli.descriptors.search.projection import Projection, joined
from hodor_cli.errors import DataError
from hodor_cli.formats.opening import open_set
from hodor_cli.runtime.preprocess import Geometry
from hodor_cli.samples.sets import PhotographSet
from hodor_cli.samples.settings import augment_preset

#: Colour of pixels from outside a photograph: ImageNet's mean, which normalisation turns into zero.
OUTSIDE = (124, 116, 104)
#: An object that covers less than this share of a frame is left out of that frame.
LEAST_SHARE = 0.003
#: How far the covariance of objects around their own means is shrunk towards a sphere, 0..1.
SHRINK = 0.3
#: Views whose distances to each other are measured at most; this many take half a gigabyte.
MOST_MEASURED = 4096


@dataclass(frozen=True)
class ObjectViews:
    """Descriptors (n, C), baseline features (n, B), and the number (n,) of the object that each row shows."""

    descriptors: np.ndarray
    baseline: np.ndarray
    instance: np.ndarray

    def select(self, rows: np.ndarray) -> ObjectViews:
        """The rows that a boolean mask or an index array picks."""
        return ObjectViews(self.descriptors[rows], self.baseline[rows], self.instance[rows])


def stills_for_projection(folder: Path, warn: Callable[[str], object] | None = None) -> StillImages:
    """The labelled photographs in a folder, in any known format, without tiny objects. warn: as for `open_set`.

    Raises DataError if there are none, InputError if the folder is missing.
    """
    found = open_set(folder, limits=ObjectLimits(min_area=800), warn=warn)
    if not isinstance(found, StillImages):
        raise DataError(f"{folder} holds clips; give a folder of labelled photographs")
    return found


def encode_views(
    encoder: FrameEncoder,
    stills: StillImages,
    *,
    photographs: int = 300,
    frames: int = 3,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> ObjectViews:
    """Encode `frames` views of up to four objects in each of a number of `photographs`, drawn at random by `seed`.

    progress: called with the number of photographs done.
    """
    settings = replace(augment_preset("mini"), frames=frames)
    training = PhotographSet(stills, settings)
    outside = np.array(OUTSIDE, np.uint8)
    descriptors, baseline, instance, known = [], [], [], 0
    chosen = np.random.default_rng(seed).permutation(len(stills))[:photographs]
    for done, index in enumerate(chosen.tolist(), start=1):
        count = min(stills.object_counts[index], 4)
        geometry = Geometry.of(*stills.sizes[index], min_dim=encoder.min_dim, max_dim=encoder.max_dim)
        sample = training.make(index, count, np.random.default_rng([seed, index]), geometry.scaled)
        for image, labels, valid in zip(sample.frames, sample.masks, sample.valid, strict=True):
            shown = {key: labels == key for key in range(1, count + 1)}
            masks = {key: mask for key, mask in shown.items() if np.count_nonzero(mask) > LEAST_SHARE * mask.size}
            if not masks:
                continue
            found = encoder.encode(np.where(valid[..., None], image, outside), masks)
            descriptors += [found.objects[key] for key in masks]
            baseline += [found.baseline[key] for key in masks]
            instance += [known + key for key in masks]
        known += count
        if progress is not None:
            progress(done)
    if not instance:
        raise DataError(f"no object in {stills.annotations_file} is large enough to encode; give more photographs")
    return ObjectViews(np.stack(descriptors), np.stack(baseline), np.array(instance))


def fit_projection(views: ObjectViews, model_fingerprint: str, *, dimensions: int = 256) -> Projection:
    """The projection to at most `dimensions` dimensions, and the distance below which two views show the same object.

    With eight or more objects that have two views, that distance is measured with a projection learned from half of
    them, on the other objects. Raises DataError if fewer than two objects have two views, because nothing then shows
    what should not matter.
    """
    fitted = _fit(views, model_fingerprint, dimensions)
    objects, counts = np.unique(views.instance, return_counts=True)
    objects = objects[counts > 1]
    if len(objects) < 8:
        return fitted
    half = np.isin(views.instance, objects[::2])
    judge = _fit(views.select(half), model_fingerprint, dimensions)
    limit = alike_limit(judge, views.select(np.flatnonzero(~half)[:MOST_MEASURED]))
    return fitted if limit is None else replace(fitted, settings={**fitted.settings, "alike_below": limit})


def alike_limit(projection: Projection, views: ObjectViews) -> float | None:
    """The distance from a view to the nearest view of an object below which the two should show the same object.

    It maximises the share of an object's own views that are nearer plus the share of other objects' views that are
    farther. None if no object has two views.
    """
    vectors = projection(views.descriptors, views.baseline)
    _, numbers = np.unique(views.instance, return_inverse=True)
    apart = np.sqrt(np.maximum(2 - 2 * vectors.astype(np.float64) @ vectors.T, 0))
    np.fill_diagonal(apart, np.inf)
    nearest = np.stack([apart[:, numbers == number].min(axis=1) for number in range(numbers.max() + 1)], axis=1)
    own = np.eye(nearest.shape[1], dtype=bool)[numbers]
    same, other = np.sort(nearest[own & np.isfinite(nearest)]), np.sort(nearest[~own])
    if not len(same) or not len(other):
        return None
    limits = np.concatenate([same, other])
    right = np.searchsorted(same, limits, "right") / len(same) - np.searchsorted(other, limits, "right") / len(other)
    return float(np.median(limits[right >= right.max() - 1e-9]))


def _fit(views: ObjectViews, model_fingerprint: str, dimensions: int) -> Projection:
    _, numbers = np.unique(views.instance, return_inverse=True)
    counts = np.bincount(numbers)
    if np.count_nonzero(counts > 1) < 2:
        raise DataError("a projection needs at least two objects with two views each; give more photographs")
    mean = views.descriptors.mean(axis=0)
    deviation = np.maximum(views.descriptors.std(axis=0), 1e-6)
    both = joined(views.descriptors, views.baseline, mean, deviation).astype(np.float64)
    means = np.stack([np.bincount(numbers, column) for column in both.T], axis=1) / counts[:, None]
    around = both - means[numbers]
    covariance = around.T @ around / (len(both) - len(counts))
    sphere = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINK) * covariance + SHRINK * sphere * np.eye(len(covariance))
    strength, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(strength, 1e-12))
    centre = means.mean(axis=0)
    apart = (means - centre) @ whitening
    _, directions = np.linalg.eigh(apart.T @ apart)
    weight = whitening @ directions[:, ::-1][:, :dimensions]
    learned = {"objects": len(counts), "rows": len(both), "dimensions": int(weight.shape[1]), "shrink": SHRINK}
    mean, deviation, centre, weight = (array.astype(np.float32) for array in (mean, deviation, centre, weight))
    return Projection(mean, deviation, centre, weight, model_fingerprint, learned)
