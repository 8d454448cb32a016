"""Training sets: photographs as augmented sequences, and clips in the three ways of `finetune`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import StillImages
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError, UsageError
from hodor_cli.training.samples.cutouts import Filmed, Masks, cut_filmed, still_filmed
from hodor_cli.training.samples.sample import TrainingSample, make_clip_sample
from hodor_cli.training.samples.sequence import make_still_sequence
from hodor_cli.training.samples.settings import AugmentSettings

_Item = tuple[int, int, tuple[int, ...]]  # clip, frame, ids of its usable objects


class StillTraining:
    """A `TrainingSet` of photographs. Occluders and backgrounds come from the same photographs."""

    def __init__(self, images: StillImages, settings: AugmentSettings) -> None:
        self.images = images
        self.settings = settings
        self.sizes = images.sizes
        self.object_counts = images.object_counts
        self.groups = images.groups

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sequence of photograph `index` with `num_objects` of its objects; out_size is (height, width)."""
        still = self.images.load(index)
        masks = _chosen(still.masks, num_objects, rng)
        return make_still_sequence(
            still.image, masks, rng, self.settings, out_size, name=still.name, others=self._other
        )

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """One of the objects of photograph `index`."""
        still = self.images.load(index)
        return still_filmed(still.image, still.masks[int(rng.integers(len(still.masks)))], frames)

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """The photograph itself."""
        return index

    def _other(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
        still = self.images.load(int(rng.integers(len(self.images))))
        return still.image, still.masks


class ClipTraining:
    """What the three ways share: items are labelled frames with usable objects.

    `sizes`, `object_counts` and `groups` have one entry for each item. max_gap: how many frames apart those of a sample
    lie at most. every: take each n-th labelled frame of a clip. Raises DataError when no object is within the limits.
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
        for name, value in (("max_gap", max_gap), ("every", every)):
            if value < 1:
                raise UsageError(f"`{name}` must be at least 1, not {value}")
        self.clips, self.settings, self.every = clips, settings, every
        self.max_gap = max(max_gap, settings.frames - 1)
        limits = limits or ObjectLimits()
        chosen = [(number, frame) for number, clip in enumerate(clips.clips) for frame in self.choose(clip.labelled)]
        self.items = _usable_items(clips, chosen, limits)
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
        return labelled

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        """Sequence and frame of an item."""
        clip, frame, _ = self.items[index]
        return f"{self.clips.clips[clip].name}/{self.clips.clips[clip].frames[frame].name}"

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """An object of labelled frame `index`, as a photograph: no other label is opened."""
        clip, frame, ids = self.items[index]
        mask = self.clips.load_labels(clip, frame) == ids[int(rng.integers(len(ids)))]
        return still_filmed(self.clips.load_frame(clip, frame), mask, frames)

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        """An item of the same clip."""
        same = [item for item, group in enumerate(self.groups) if group == self.groups[index]]
        return same[int(rng.integers(len(same)))]

    def _masks(self, index: int) -> Masks:
        clip, frame, ids = self.items[index]
        labels = self.clips.load_labels(clip, frame)
        return [labels == number for number in ids]

    def _frames(self, clip: int, frames: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [self.clips.load_frame(clip, frame) for frame in frames]


class ClipFrames(ClipTraining):
    """`frames`: every annotated frame is one more photograph."""

    def choose(self, labelled: Sequence[int]) -> Sequence[int]:
        return labelled[:: self.every]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The sequence made from labelled frame `index`."""
        clip, frame, _ = self.items[index]
        masks = self._masks(index)
        image = self.clips.load_frame(clip, frame)
        chosen = _chosen(masks, num_objects, rng)
        return make_still_sequence(
            image, chosen, rng, self.settings, out_size, name=self.name(index), others=self._other
        )

    def _other(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Masks]:
        index = int(rng.integers(len(self.items)))
        clip, frame, _ = self.items[index]
        return self.clips.load_frame(clip, frame), self._masks(index)


class SparseClips(ClipTraining):
    """`sparse` (cyclic consistency): one labelled frame per clip, and unlabelled frames near it.

    The labelled frame is the middle one of those that have an annotation; no other annotation is ever opened.
    """

    def choose(self, labelled: Sequence[int]) -> Sequence[int]:
        return [labelled[len(labelled) // 2]]

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """The labelled frame of clip `index` as frame 0, then unlabelled frames near it."""
        clip, frame, _ = self.items[index]
        near = [f for f in range(len(self.clips.clips[clip].frames)) if f != frame and abs(f - frame) <= self.max_gap]
        others = _draw_frames(near, frame, self.settings.frames - 1, rng)
        labels = _numbered(_chosen(self._masks(index), num_objects, rng))
        return make_clip_sample(
            self._frames(clip, (frame, *others)), [labels, *[None] * len(others)], num_objects, rng, self.settings,
            out_size, name=self.name(index),
        )  # fmt: skip


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
        places = (frame, *_draw_frames(near, frame, self.settings.frames - 1, rng))
        # Frame 0 must show every object; which ones, is decided there.
        order = [ids[int(i)] for i in rng.permutation(len(ids))[:num_objects]]
        frames = self._frames(clip, places)
        maps = [self.clips.load_labels(clip, f) for f in places]
        labels = [_numbered([labels == number for number in order]) for labels in maps]
        return make_clip_sample(frames, labels, len(order), rng, self.settings, out_size, name=self.name(index))

    def film(self, index: int, frames: int, rng: np.random.Generator) -> Filmed | None:
        """An object as filmed from labelled frame `index` on, forwards or backwards, or with gaps."""
        clip, frame, ids = self.items[index]
        labelled = self.clips.clips[clip].labelled
        number = ids[int(rng.integers(len(ids)))]
        step = int(rng.integers(1, max(1, self.max_gap // frames) + 1)) * (1 if rng.random() < 0.5 else -1)
        places = labelled.index(frame) + step * np.arange(frames)
        chosen = [labelled[place] for place in np.clip(places, 0, len(labelled) - 1).tolist()]
        masks = [self.clips.load_labels(clip, f) == number for f in chosen]
        return cut_filmed(self._frames(clip, chosen), masks, moving=True)


def _usable_items(clips: ClipSet, chosen: Sequence[tuple[int, int]], limits: ObjectLimits) -> list[_Item]:
    """Those of the labelled (clip, frame) pairs with objects within the limits. Every mask named is read once."""

    def read(pair: tuple[int, int]) -> _Item:
        clip, frame = pair
        listed = clips.clips[clip].listed
        known = None if listed is None else {number for number, places in listed.items() if frame in places}
        if known is not None and not known:
            return clip, frame, ()
        usable = limits.usable_ids(clips.load_labels(clip, frame))
        return clip, frame, tuple(number for number in usable if known is None or number in known)

    with ThreadPoolExecutor(4) as pool:
        return [item for item in pool.map(read, chosen) if item[2]]


def _draw_frames(near: Sequence[int], frame: int, count: int, rng: np.random.Generator) -> list[int]:
    """`count` of the frames `near`: half the time going away from `frame`, half the time in any order."""
    if not near:
        return [frame] * count
    drawn = [near[int(i)] for i in rng.choice(len(near), size=count, replace=len(near) < count)]
    return sorted(drawn, key=lambda f: abs(f - frame)) if rng.random() < 0.5 else drawn


def _chosen(masks: Masks, num_objects: int, rng: np.random.Generator) -> Masks:
    """`num_objects` of the masks, in random order."""
    return [masks[int(i)] for i in rng.permutation(len(masks))[:num_objects]]


def _numbered(masks: Masks) -> NDArray[np.uint8]:
    labels = np.zeros(masks[0].shape, dtype=np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels
