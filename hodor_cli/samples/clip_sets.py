"""Clips as training sets, for the three modes of `finetune`: frames, sparse and dense."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hodor_cli.datasets.clips import ClipSet
from hodor_cli.datasets.coco import Still, StillObject
from hodor_cli.datasets.limits import ObjectLimits
from hodor_cli.errors import DataError
from hodor_cli.samples.colour import Look
from hodor_cli.samples.cutouts import Cutout, cutout_of
from hodor_cli.samples.geometry import Warp, between, fit_matrix, motion_matrix
from hodor_cli.samples.sample import TrainingSample, areas_of, labels_of_masks, sample_of
from hodor_cli.samples.sets import PhotographSet, chosen_of
from hodor_cli.samples.settings import AugmentSettings

_ATTEMPTS = 5  # views to try, each closer to the whole frame, until frame 0 keeps its objects
_KEPT = 0.5  # share of each object's pixels that frame 0 must still show


class ClipFrames:
    """The labelled frames of clips that show objects within the limits, as `Pictures`.

    mode: "frames" takes every n-th labelled frame (`every`) of a clip; "sparse" takes the middle one and never opens
    another annotation; "dense" takes all labelled frames of clips that have at least two. If there is a `meta.json`, it
    decides which objects count in which frame. items: (clip, frame, object ids) of each picture. Raises DataError if no
    frame is left.
    """

    def __init__(
        self, clips: ClipSet, limits: ObjectLimits | None = None, *, mode: str = "frames", every: int = 1
    ) -> None:
        self.clips, self.mode, limits = clips, mode, limits or ObjectLimits()

        def usable(clip: int, frame: int) -> tuple[int, int, tuple[int, ...]]:
            listed = clips.clips[clip].listed
            known = None if listed is None else {number for number, places in listed.items() if frame in places}
            ids = limits.usable_ids(clips.load_labels(clip, frame)) if known is None or known else ()
            return clip, frame, tuple(number for number in ids if known is None or number in known)

        pairs: list[tuple[int, int]] = []
        for number, clip in enumerate(clips.clips):
            frames = clip.labelled
            if mode == "sparse":
                frames = frames[len(frames) // 2 :][:1]
            elif mode == "dense":
                frames = frames if len(frames) > 1 else ()
            else:
                frames = frames[::every]
            pairs += [(number, frame) for frame in frames]
        with ThreadPoolExecutor(4) as pool:  # reads every mask once
            self.items = [item for item in pool.map(usable, *zip(*pairs, strict=True)) if item[2]] if pairs else []
        if not self.items:
            raise DataError(f"{clips.dataset.root} has no labelled object of {limits}; see `check_dataset`")
        self.sizes = [clips.clips[clip].size for clip, _, _ in self.items]
        self.object_counts = [len(ids) for _, _, ids in self.items]
        self.groups = [clips.clips[clip].name for clip, _, _ in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        """Sequence and frame, such as `bear/00000.jpg`."""
        clip, frame, _ = self.items[index]
        return f"{self.clips.clips[clip].name}/{self.clips.clips[clip].frames[frame].name}"

    def load(self, index: int) -> Still:
        """The frame and its usable objects. Raises DataError that names the file if it cannot be read."""
        clip, frame, ids = self.items[index]
        labels = self.clips.load_labels(clip, frame)
        objects = [StillObject(number, "object", labels == number) for number in ids]
        return Still(self.clips.load_frame(clip, frame), objects, self.name(index))


class FrameSet(PhotographSet):
    """Mode "frames": every labelled frame is used like a photograph."""

    pictures: ClipFrames

    def twin_of(self, index: int, rng: np.random.Generator) -> int:
        same = [item for item, group in enumerate(self.groups) if group == self.groups[index]]
        return same[int(rng.integers(len(same)))]


class ClipSequences(FrameSet):
    """Frames of one clip in each sample, at most `max_gap` frames apart.

    pictures: in mode "sparse" (cyclic consistency) only frame 0 of a sample is labelled; in mode "dense" all frames
    are, and frame 0 shows all objects.
    """

    def __init__(
        self, pictures: ClipFrames, settings: AugmentSettings, chosen: Sequence[int] | None = None, *, max_gap: int = 10
    ) -> None:
        super().__init__(pictures, settings, chosen)
        self.clips, self.items = pictures.clips, [pictures.items[picture] for picture in self.chosen]
        self.max_gap = max(max_gap, settings.frames - 1)

    def make(self, index: int, num_objects: int, rng: np.random.Generator, out_size: tuple[int, int]) -> TrainingSample:
        """Labelled frame `index` as frame 0, then other frames of its clip, all in the same view."""
        clip, frame, ids = self.items[index]
        if self.pictures.mode == "sparse":
            every = range(len(self.clips.clips[clip].frames))
            near = [f for f in every if f != frame and abs(f - frame) <= self.max_gap]
        else:
            labelled = self.clips.clips[clip].labelled
            # All frames come from one window of `max_gap` that includes frame 0, so that no two are farther apart.
            start = frame - int(rng.integers(self.max_gap + 1))
            near = [f for f in labelled if f != frame and start <= f <= start + self.max_gap]
            near = near or [f for f in labelled if f != frame and abs(f - frame) <= self.max_gap]
        frames = [frame, *_draw_frames(near, frame, self.settings.frames - 1, rng)]
        known = frames[:1] if self.pictures.mode == "sparse" else frames
        order = chosen_of(ids, num_objects, rng)
        maps = [self.clips.load_labels(clip, f) for f in known]
        labels = [labels_of_masks([marked == number for number in order]) for marked in maps]
        warp = self._view(labels[0], rng, out_size)
        valid = warp.covers(labels[0].shape)
        moved = [warp.apply(marked, nearest=True) for marked in labels]
        moved += [np.zeros(out_size, np.uint8)] * (len(frames) - len(known))
        drawn = (
            (warp.apply(self.clips.load_frame(clip, f)), marked, valid) for f, marked in zip(frames, moved, strict=True)
        )
        name = self.pictures.name(self.chosen[index])
        return sample_of(drawn, num_objects, name, np.arange(len(frames)) < len(known), Look(rng, self.settings))

    def _view(self, first: NDArray[np.uint8], rng: np.random.Generator, out_size: tuple[int, int]) -> Warp:
        """A random view of a clip: flip, crop, zoom and rotation, weaker with every attempt until frame 0 keeps its
        objects. first: the label map (h, w) of frame 0."""
        settings, (height, width) = self.settings, out_size
        fit = fit_matrix(first.shape, out_size)
        mirror = bool(rng.random() < settings.flip)
        count = int(first.max())
        before = areas_of(first, count) * np.linalg.det(fit[:2, :2])
        for attempt in range(_ATTEMPTS):
            strength = 1.0 - attempt / (_ATTEMPTS - 1)
            zoom = between(rng, settings.view_scale, strength) / between(rng, settings.crop_keep, strength)
            room_x, room_y = (max(0.0, zoom - 1) * side / 2 for side in (width, height))
            turn = float(rng.uniform(-1, 1)) * settings.view_rotation * strength
            shift = float(rng.uniform(-room_x, room_x)), float(rng.uniform(-room_y, room_y))
            middle = (width - 1) / 2, (height - 1) / 2
            warp = Warp(motion_matrix(middle, scale=zoom, rotation=turn, shift=shift, mirror=mirror) @ fit, out_size)
            after = areas_of(warp.apply(first, nearest=True), count)
            if (after >= _KEPT * before).all():
                break
        return warp

    def cut_out(self, index: int, frames: int, rng: np.random.Generator) -> Cutout | None:
        """An object in labelled frames from item `index` on, forwards or backwards, with a random step."""
        if self.pictures.mode == "sparse":
            return super().cut_out(index, frames, rng)
        clip, frame, ids = self.items[index]
        labelled = self.clips.clips[clip].labelled
        number = ids[int(rng.integers(len(ids)))]
        step = int(rng.integers(1, max(1, self.max_gap // frames) + 1)) * (1 if rng.random() < 0.5 else -1)
        places = labelled.index(frame) + step * np.arange(frames)
        chosen = [labelled[place] for place in np.clip(places, 0, len(labelled) - 1).tolist()]
        masks = [self.clips.load_labels(clip, f) == number for f in chosen]
        return cutout_of([self.clips.load_frame(clip, f) for f in chosen], masks, moving=True)


def _draw_frames(near: Sequence[int], frame: int, count: int, rng: np.random.Generator) -> list[int]:
    """`count` of the frames `near`: half the time ordered by distance from `frame`, half the time in random order."""
    if not near:
        return [frame] * count
    drawn = [near[int(i)] for i in rng.choice(len(near), size=count, replace=len(near) < count)]
    return sorted(drawn, key=lambda f: abs(f - frame)) if rng.random() < 0.5 else drawn
