"""Sequences from still images, made by imgaug as in the paper, or by our own code, which is faster and adds motion.

Every frame is sampled directly from the original photograph (or from layers cut out of it), never from another frame.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.samples.colour import Look
from hodor_cli.samples.cutouts import Cutout, fill_hole, paste, soften, still_cutout
from hodor_cli.samples.geometry import LayerMotion, Matrix, Track, Warp, between, fit_matrix, motion_matrix, signed
from hodor_cli.samples.sample import DrawnFrame, Masks, Others, TrainingSample, areas_of, labels_of_masks, sample_of
from hodor_cli.samples.settings import AugmentSettings

_ATTEMPTS = 4  # draws of a frame, each with less motion, while it loses objects; the last one has none


def make_still_sequence(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
    *,
    name: str = "",
    others: Others | None = None,
) -> TrainingSample:
    """A sequence of `settings.frames` frames from one photograph, made by `settings.maker`.

    image: (h, w, 3) uint8 RGB. masks: one (h, w) bool mask per object, in the order of their ids 1.. in the result.
    out_size: (height, width) of frames. others: draws another photograph; without it the fast maker adds no occluders,
    distractors or other backgrounds. Every object that is visible in the photograph is visible in frame 0. The same
    image, masks, settings and state of `rng` give the same sample. Raises DataError if imgaug is needed and missing.
    """
    if settings.maker == "imgaug":
        from hodor_cli.samples.imgaug_sequence import draw_with_imgaug

        return sample_of(draw_with_imgaug(image, masks, rng, settings, out_size), len(masks), name)
    labels = labels_of_masks(masks)
    without_overlaps = [labels == number for number in range(1, len(masks) + 1)]
    scene = _Scene(image, without_overlaps, rng, settings, out_size, others)
    drawn = (scene.frame(t) for t in range(settings.frames))
    return sample_of(drawn, len(masks), name, look=Look(rng, settings))


class _Scene:
    """What the frames of one sequence share: the layers of a photograph, how each moves, and the view of them.

    masks: (h, w) bool, without overlaps.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        masks: Masks,
        rng: np.random.Generator,
        settings: AugmentSettings,
        size: tuple[int, int],
        others: Others | None,
    ) -> None:
        self.image, self.rng, self.settings, self.size = image, rng, settings, size
        apart = rng.random() < settings.independent
        for mask in masks:  # a noticeable part of the outline must not be cut off by the photograph's edge
            cut_off = sum(int(np.count_nonzero(edge)) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
            apart = apart and cut_off <= 0.15 * np.sqrt(max(1, int(np.count_nonzero(mask)))) * 4
        # None when objects and background move as one.
        self.background: NDArray[np.uint8] | None = None
        if apart and others is not None and rng.random() < settings.other_background:
            self.background = others(rng)[0]
        elif apart:
            self.background = fill_hole(self.image, np.logical_or.reduce(masks))
        self._smooth = rng.random() < settings.path
        front = self._cut_outs(others) if rng.random() < settings.occluder else []
        behind = self._cut_outs(others) if apart and rng.random() < settings.distractor else []
        # One soft mask for each object, 0..255.
        self.masks = [mask.astype(np.uint8) * 255 for mask in masks]
        if apart:
            self.masks = [soften(mask) for mask in self.masks]
        self.front, self.behind = ([(cut, self._track()) for cut in cuts] for cuts in (front, behind))
        self.view = self._draw_view(masks)
        self.ground = self._track()
        self.objects = [self._track() for _ in masks]

    def frame(self, t: int) -> DrawnFrame:
        """Frame t. Frame 0 shows all objects; a later frame shows at least one, unless the frames follow a path.

        A frame that does not is drawn again with less motion; frame 0 also without occluders and, in the last attempt,
        without zoom.
        """
        for attempt in range(_ATTEMPTS):
            if t == 0 and attempt:
                self.front = []
            if t == 0 and attempt == _ATTEMPTS - 1:
                self.view = fit_matrix(self.image.shape[:2], self.size)
            drawn = self._drawn(t, 1.0 - attempt / (_ATTEMPTS - 1))
            areas = areas_of(drawn[1], len(self.masks))
            shown = areas >= self.settings.min_visible * drawn[1].size
            if shown.all() if t == 0 else shown.any() or self.ground.step is not None:
                break
        return drawn

    def _drawn(self, t: int, strength: float) -> DrawnFrame:
        """Frame t. strength: 1 for the full motion of the settings, 0 for none."""
        height, width = self.size
        motion = self.ground.at(t, lambda: self._frame_motion(strength))
        ground = Warp(motion.matrix(((width - 1) / 2, (height - 1) / 2)) @ self.view, self.size, motion.bend)
        labels = np.zeros(self.size, dtype=np.uint8)
        if self.background is None:
            valid = ground.covers(self.image.shape[:2])
            for start in range(0, len(self.masks), 4):  # OpenCV warps up to four channels at once
                masks = ground.apply(np.stack(self.masks[start : start + 4], axis=-1))
                for index, mask in enumerate(np.moveaxis(np.atleast_3d(masks), -1, 0), start + 1):
                    labels[mask > 127] = index
            labels[~valid] = 0
            frame = ground.apply(self.image)
        else:
            valid, matrix, background = np.ones(self.size, dtype=bool), ground.matrix, self.background
            if background.shape != self.image.shape:
                # Another photograph is scaled to take the place of this one.
                matrix = matrix @ np.linalg.inv(fit_matrix(self.image.shape[:2], background.shape[:2]))
            frame = Warp(matrix, self.size, ground.bend).apply(background, mirrored=True)
            for cut, track in self.behind:
                self._add_cut_out(frame, labels, cut, track, t)
            for index, (mask, track) in enumerate(zip(self.masks, self.objects, strict=True)):
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                if len(rows) == 0:
                    continue
                x, y, _ = self.view @ np.array([columns.mean(), rows.mean(), 1.0])
                motion = track.at(t, lambda: self._object_motion(strength))
                warp = Warp(motion.matrix((float(x), float(y))) @ self.view, self.size, motion.bend)
                alpha = warp.apply(mask)
                paste(frame, warp.apply(self.image, mirrored=True), alpha)
                labels[alpha > 127] = index + 1
        for cut, track in self.front:
            valid |= self._add_cut_out(frame, labels, cut, track, t)
        return frame, labels, valid

    def _add_cut_out(
        self, frame: NDArray[np.uint8], labels: NDArray[np.uint8], cut: Cutout, track: Track, t: int
    ) -> NDArray[np.bool_]:
        """Paste an object of another photograph into a frame, in place, as background. Returns where it is."""
        motion = track.at(t, lambda: self._cut_out_motion(cut))
        tall, wide = cut.alphas[0].shape
        warp = Warp(motion.matrix(((wide - 1) / 2, (tall - 1) / 2)), self.size)
        alpha = warp.apply(cut.alphas[0])
        paste(frame, warp.apply(cut.images[0]), alpha)
        covered = np.asarray(alpha > 127)
        labels[covered] = 0
        return covered

    def _frame_motion(self, strength: float) -> LayerMotion:
        """The motion of a whole frame: the paper's translation, rotation, shear and crop, our zoom and deformation."""
        rng, (height, width) = self.rng, self.size
        zoom = self._zoom(strength) - float(np.log(between(rng, self.settings.crop_keep, strength)))
        # A crop may be anywhere in the photograph.
        spare = max(0.0, float(np.exp(zoom)) - 1) / 2
        x, y = (
            signed(rng, self.settings.translation, strength) * side + float(rng.uniform(-spare * side, spare * side))
            for side in (width, height)
        )
        return self._turned(zoom, (x, y), strength)

    def _object_motion(self, strength: float) -> LayerMotion:
        """The motion of one object relative to its place."""
        reach = self.settings.object_motion * strength
        x, y = (float(self.rng.normal(0, reach) * side) for side in (self.size[1], self.size[0]))
        return self._turned(self._zoom(strength), (x, y), strength)

    def _cut_out_motion(self, cut: Cutout) -> LayerMotion:
        """A place, size and rotation for an object of another photograph: the motion from its crop to the frame."""
        rng, (height, width) = self.rng, self.size
        tall, wide = cut.alphas[0].shape
        zoom = np.log(rng.uniform(0.2, 0.5)) + 0.5 * np.log(height * width / (tall * wide))
        x, y = rng.uniform(0, width) - (wide - 1) / 2, rng.uniform(0, height) - (tall - 1) / 2
        return LayerMotion(np.array([zoom, rng.uniform(-20, 20), 0.0, 0.0, x, y]))

    def _turned(self, zoom: float, shift: tuple[float, float], strength: float) -> LayerMotion:
        """A motion with this zoom and shift, and with random rotation, shear and deformation."""
        rng, settings = self.rng, self.settings
        turns = [signed(rng, bounds, strength) for bounds in (settings.rotation, settings.shear, settings.shear)]
        bend = None
        if rng.random() < settings.elastic and strength > 0:
            cells, deviation = int(rng.integers(3, 6)), settings.elastic_strength * strength * min(self.size)
            coarse: Any = rng.normal(0.0, deviation, (cells, cells, 2)).astype(np.float32)
            smooth = cv2.resize(coarse, (self.size[1], self.size[0]), interpolation=cv2.INTER_CUBIC)
            bend = np.asarray(smooth, dtype=np.float32)
        return LayerMotion(np.array([zoom, *turns, *shift]), bend)

    def _zoom(self, strength: float) -> float:
        """The logarithm of a random zoom."""
        zoom = float(np.log(between(self.rng, self.settings.frame_scale, strength)))
        if self.rng.random() < self.settings.scale_jump:
            zoom += float(np.log(between(self.rng, self.settings.scale_jump_range, strength)))
        return zoom

    def _track(self) -> Track:
        return Track(float(self.rng.uniform(*self.settings.path_step)) if self._smooth else None)

    def _cut_outs(self, others: Others | None) -> list[Cutout]:
        """An object of another photograph, if there is one."""
        image, masks = others(self.rng) if others is not None else (self.image, [])
        cut = still_cutout(image, masks[int(self.rng.integers(len(masks)))], frames=1) if masks else None
        return [] if cut is None else [cut]

    def _draw_view(self, masks: Masks) -> Matrix:
        """The matrix from the photograph to a frame without motion: fit it, then zoom towards an object, rotate, and
        perhaps mirror."""
        rng, (height, width) = self.rng, self.size
        fit = fit_matrix(self.image.shape[:2], self.size)
        zoom = between(rng, self.settings.view_scale)
        turn = float(rng.uniform(-1, 1)) * self.settings.view_rotation
        mirror = bool(rng.random() < self.settings.flip)
        centre = ((width - 1) / 2, (height - 1) / 2)
        shift = (0.0, 0.0)
        if masks and zoom > 1:
            # Move the object towards the middle, so that zooming in does not push it out of the frame.
            rows, columns = np.nonzero(masks[int(rng.integers(len(masks)))])
            if len(rows):
                point = fit @ np.array([columns.mean(), rows.mean(), 1.0])
                spare = (1 - 1 / zoom) / 2 * np.array([width, height])
                across, down = np.clip(point[:2] - np.array(centre), -spare, spare)
                shift = (float(-zoom * across * (-1 if mirror else 1)), float(-zoom * down))
        return motion_matrix(centre, scale=zoom, rotation=turn, shift=shift, mirror=mirror) @ fit
