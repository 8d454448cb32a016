"""Descriptors as points in the plane: which rows to show, and where to place them."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hodor_cli.descriptors.search.comparison import By, Comparison
from hodor_cli.descriptors.search.query import spread
from hodor_cli.descriptors.store.store import DescriptorStore
from hodor_cli.errors import InputError, extra

Method = Literal["tsne", "pca"]
ColourBy = Literal["video", "object", "frame"]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MapPoint:
    """One object in one frame: its position (x to the right, y up, both in -1..1), its identity, and its crop."""

    x: float
    y: float
    video: str
    object_id: int
    frame: int
    time: float | None
    confidence: float
    crop: bytes | None


@dataclass(frozen=True)
class DescriptorMap:
    """A finished map: its points, sorted by video, object and frame; how they were laid out; and the number of rows
    they were chosen from."""

    points: tuple[MapPoint, ...]
    method: Method
    seed: int
    rows: int
    videos: tuple[str, ...]
    by: By = "descriptor"

    @property
    def what(self) -> str:
        """What is laid out, in words."""
        return {"baseline": "baseline features", "projection": "projected descriptors"}.get(self.by, "descriptors")


def make_map(
    store: DescriptorStore,
    *,
    comparison: Comparison | None = None,
    method: Method = "tsne",
    seed: int = 0,
    most: int = 1500,
    videos: list[str] | None = None,
) -> DescriptorMap:
    """Lay out the descriptors of a store (or of some of its videos); the same seed gives the same map.

    comparison: lay out the vectors that it compares instead of the descriptors.
    most: the maximum number of points, spread evenly over each object's frames. Raises InputError with fewer than 3
    rows.
    """
    names = store.videos if videos is None else list(dict.fromkeys(videos))
    index = store.index(names)
    # Every object keeps the same share of its rows, spread evenly over its frames.
    chosen = np.sort(spread(np.lexsort((index.frame, index.instance)), most))
    if len(chosen) < 3:
        raise InputError(f"{store.path} has {len(chosen)} rows to show and a map needs at least 3; export more frames")
    comparison = comparison or Comparison()
    places = project(comparison.vectors(store, videos=names).take(chosen), method, seed)
    points: list[MapPoint] = []
    for number in np.unique(index.video[chosen]).tolist():
        name = names[number]
        first, last = np.searchsorted(index.video[chosen], (number, number + 1))
        rows = chosen[first:last] - int(np.searchsorted(index.video, number))
        confidence, crops = store.dataset(name, "confidence")[rows], store.thumbnails(name, rows)
        for (x, y), row, sure, crop in zip(places[first:last], chosen[first:last], confidence, crops, strict=True):
            who = name, int(index.object_id[row]), int(index.frame[row]), index.time(int(row))
            points.append(MapPoint(float(x), float(y), *who, float(sure), crop))
    points.sort(key=lambda point: (point.video, point.object_id, point.frame))
    return DescriptorMap(tuple(points), method, seed, len(index), tuple(names), comparison.by)


def project(vectors: np.ndarray, method: Method, seed: int) -> np.ndarray:
    """(N, C) -> (N, 2) float64 in -1..1; `pca` preserves distances as well as two axes can, `tsne` neighbourhoods."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    if centred.shape[1] < 2:
        centred = np.pad(centred, ((0, 0), (0, 1)))
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    # The sign of an axis is arbitrary: make its largest entry positive, so that all linear algebra libraries agree.
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    if method == "pca":
        places = centred @ axes[:2].T
    else:
        with extra("figures", "`method` tsne (pca does not)"):
            from sklearn.manifold import TSNE

        reduced = centred @ axes[:50].T
        start = reduced[:, :2] / max(float(reduced[:, 0].std()), 1e-12) * 1e-4
        around = min(30.0, (len(vectors) - 1) / 3)
        places = TSNE(init=start, perplexity=around, random_state=seed, learning_rate="auto").fit_transform(reduced)
    low, high = places.min(axis=0), places.max(axis=0)
    return np.asarray((places - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-12))


def colours_of(found: DescriptorMap, colour_by: ColourBy) -> tuple[list[Colour], dict[str, Colour]]:
    """A colour per point, and the legend; by frame, the legend shows the scale's ends and middle."""
    if colour_by != "frame":
        groups = [p.video if colour_by == "video" else f"{p.video}/{p.object_id}" for p in found.points]
        legend = {group: distinct_colour(number) for number, group in enumerate(dict.fromkeys(groups))}
        return [legend[group] for group in groups], legend
    last = dict.fromkeys(found.videos, 1)
    for point in found.points:
        last[point.video] = max(last[point.video], point.frame)
    colours = [time_colour(point.frame / last[point.video]) for point in found.points]
    return colours, {"first frame": time_colour(0), "middle": time_colour(0.5), "last frame": time_colour(1)}


def distinct_colour(number: int) -> Colour:
    """A colour that differs clearly from the colours of neighbouring numbers."""
    hue = (0.58 + number * 0.61803398875) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, (0.42, 0.55, 0.33)[number % 3], (0.75, 0.6, 0.65)[number % 3])
    return round(red * 255), round(green * 255), round(blue * 255)


def time_colour(share: float) -> Colour:
    """A colour from dark blue through green to yellow for 0..1."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["viridis"](float(share), bytes=True)
    return int(red), int(green), int(blue)
