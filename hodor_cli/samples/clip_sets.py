"""Clips as training sets, in the three ways of `finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError
from hodor_cli.samples.colour import Look
from hodor_cli.samples.cutouts import Filmed, cut_filmed
from hodor_cli.samples.geometry import Warp, between, fit_matrix, motion_matrix
from hodor_cli.samples.sample import Masks, TrainingSample, labels_of_masks, sample_of
from hodor_cli.samples.sets import TrainingSet, chosen_of
from hodor_cli.samples.settings import AugmentSettings

_Item = tuple[int, int, tuple[int, ...]]  # clip, frame, ids of its usable objects

_ATTEMPTS = 5  # views of a clip, each nearer to the whole frame, until frame 0 keeps its objects
_KEPT = 0.5  # share of each object's pixels that frame 0 must still show


class ClipTraining(TrainingSet):
    """`frames`: every annotated frame with usable objects is one more photograph; the other ways are made from this.

    max_gap: how many frames apart those of a sample lie at most. every: take each n-th labelled frame of a clip. Raises
    DataError when no object is within the limits.
    """

    def __init__(
        self,
        clips: ClipSet,
        settings: AugmentSettings,
        *,
        limits: ObjectLimits | None = None,
        max_gap: int = 10,
        every: int = 1,
    ) -> None:
        self.clips, self.settings, self.every = clips, settings, every
        self.max_gap = max(max_gap, settings.frames - 1)
        limits = limits or ObjectLimits()

        def usable(pair: tuple[int, int]) -> _Item:
            clip, frame = pair
            listed = clips.clips[clip].listed
            known = None if listed is None else {number for number, places in listed.items() if frame in places}
            ids = () if known is not None and not known else limits.usable_ids(clips.load_labels(clip, frame))
            return clip, frame, tuple(number for number in ids if known is None or number in known)

        chosen = [(number, frame) for number, clip in enumerate(clips.clips) for frame in self.choose(clip.labelled)]
        with ThreadPoolExecutor(4) as pool:  # every mask named is read once
            self.items = self.all_items = [item for item in pool.map(usable, chosen) if item[2]]
        if not self.items:
            raise DataError(
                f"{clips.dataset.root} has no labelled frame with an object of {limits} (see the limits in"
                " `check_dataset`)"
            )
        self.sizes = [clips.clips[clip].size for clip, _, _ in self.items]
        self.object_counts = [len(ids) for _, _, ids in self.items]
        self.groups = [clips.clips[clip].name for clip, _, _ in self.items]

    def choose(self, labelled: Sequence[int]) -> Sequence[int]:
        """Those of a clip's labelled frames that become items."""
        return labelled[:: self.every]

    def load(self, item: _Item) -> tuple[NDArray[np.uint8], Masks]:
        clip, frame, ids = item
        labels = self.clips.load_labels(clip, frame)
        return self.clips.load_frame(clip, frame), [labels == number for number in ids]

    def name(self, index: int) -> str:
        """Sequence and frame of an item."""
        clip, frame, _ = self.items[index]
        return f"{self.clips.clips[clip].name}/{self.clips.clips[clip].frames[frame].name}"

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        same = [item for item, group in enumerate(self.groups) if group == self.groups[index]]
        return same[int(rng.integers(len(same)))]

    def _sequence(
        self,
        index: int,
        frames: Sequence[int],
        labels: Sequence[NDArray[np.uint8]],
        rng: np.random.Generator,
        out_size: tuple[int, int],
    ) -> TrainingSample:
        """Frames of item `index`'s clip, seen alike: mirrored, cropped, zoomed and turned as one, until frame 0 keeps
        its objects. labels: of the first frames, (h, w) each; the others have none."""
        settings, first, (height, width) = self.settings, labels[0], out_size
        fit, count = fit_matrix(first.shape, out_size), int(first.max())
        mirror = bool(rng.random() < settings.flip)
        before = np.bincount(first.ravel())[1:] * np.linalg.det(fit[:2, :2])
        for attempt in range(_ATTEMPTS):
            strength = 1.0 - attempt / (_ATTEMPTS - 1)
            zoom = between(rng, settings.view_scale, strength) / between(rng, settings.crop_keep, strength)
            room_x, room_y = (max(0.0, zoom - 1) * side / 2 for side in (width, height))
            turn = float(rng.uniform(-1, 1)) * settings.view_rotation * strength
            shift = float(rng.uniform(-room_x, room_x)), float(rng.uniform(-room_y, room_y))
            middle = (width - 1) / 2, (height - 1) / 2
            warp = Warp(motion_matrix(middle, scale=zoom, rotation=turn, shift=shift, mirror=mirror) @ fit, out_size)
            after = np.bincount(warp.apply(first, nearest=True).ravel(), minlength=count + 1)[1:]
            if (after >= _KEPT * before).all():
                break
        valid, nothing = warp.covers(first.shape), np.zeros(out_size, np.uint8)
        moved = [warp.apply(marked, nearest=True) for marked in labels] + [nothing] * (len(frames) - len(labels))
        clip = self.items[index][0]
        drawn = (
            (warp.apply(self.clips.load_frame(clip, f)), marked, valid) for f, marked in zip(frames, moved, strict=True)
        )
        labelled = np.arange(len(frames)) < len(labels)
        return sample_of(drawn, count, self.name(index), labelled, Look(rng, settings))


class SparseClips(ClipTraining):
    """`sparse` (cyclic consistency): one labelled frame per clip, and unlabelled frames near it.

    The labelled frame is the middle one of those that have an annotation; no other annotation is ever opened.
    """

    def choose(self, labelled: Sequence[int]) -> Sequence[int]:
        return [labelled[len(labelled) // 2]]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The labelled frame of clip `index` as frame 0, then unlabelled frames near it."""
        clip, frame, ids = self.items[index]
        near = [f for f in range(len(self.clips.clips[clip].frames)) if f != frame and abs(f - frame) <= self.max_gap]
        frames = [frame, *_draw_frames(near, frame, self.settings.frames - 1, rng)]
        labels = self.clips.load_labels(clip, frame)
        masks = chosen_of([labels == number for number in ids], num_objects, rng)
        return self._sequence(index, frames, [labels_of_masks(masks)], rng, out_size)


class DenseClips(ClipTraining):
    """`dense`: labelled frames of one clip, two at least, `max_gap` apart at most; frame 0 holds all the objects."""

    def choose(self, labelled: Sequence[int]) -> Sequence[int]:
        return labelled if len(labelled) > 1 else ()

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """Labelled frame `index` as frame 0, then other labelled frames of its clip."""
        clip, frame, ids = self.items[index]
        labelled = self.clips.clips[clip].labelled
        # All frames within one window of max_gap that holds frame 0, so that no two are further apart.
        start = frame - int(rng.integers(self.max_gap + 1))
        near = [f for f in labelled if f != frame and start <= f <= start + self.max_gap]
        near = near or [f for f in labelled if f != frame and abs(f - frame) <= self.max_gap]
        frames = [frame, *_draw_frames(near, frame, self.settings.frames - 1, rng)]
        order = chosen_of(ids, num_objects, rng)  # of the objects of frame 0, which shows them all
        maps = [self.clips.load_labels(clip, f) for f in frames]
        labels = [labels_of_masks([labels == number for number in order]) for labels in maps]
        return self._sequence(index, frames, labels, rng, out_size)

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """An object as filmed from labelled frame `index` on, forwards or backwards, or with gaps."""
        clip, frame, ids = self.items[index]
        labelled = self.clips.clips[clip].labelled
        number = ids[int(rng.integers(len(ids)))]
        step = int(rng.integers(1, max(1, self.max_gap // frames) + 1)) * (1 if rng.random() < 0.5 else -1)
        places = labelled.index(frame) + step * np.arange(frames)
        chosen = [labelled[place] for place in np.clip(places, 0, len(labelled) - 1).tolist()]
        masks = [self.clips.load_labels(clip, f) == number for f in chosen]
        return cut_filmed([self.clips.load_frame(clip, f) for f in chosen], masks, moving=True)


def _draw_frames(near: Sequence[int], frame: int, count: int, rng: np.random.Generator) -> list[int]:
    """`count` of the frames `near`: half the time going away from `frame`, half the time in any order."""
    if not near:
        return [frame] * count
    drawn = [near[int(i)] for i in rng.choice(len(near), size=count, replace=len(near) < count)]
    return sorted(drawn, key=lambda f: abs(f - frame)) if rng.random() < 0.5 else drawn
