"""Sequences from still images: the choice between both makers, and our own, which is faster and adds motion.

Every frame is sampled once from the original photograph (or from the layers cut out of it), never from another frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.colour import Look
from hodor_cli.training.samples.cutouts import Filmed, Masks, Others, paste
from hodor_cli.training.samples.sample import DrawnFrame, TrainingSample, labels_of_masks, sample_of
from hodor_cli.training.samples.scene import Scene, Track, cut_out_motion, draw_scene, frame_motion, object_motion
from hodor_cli.training.samples.settings import AugmentSettings
from hodor_cli.training.samples.warp import Warp, fit_matrix, warp_masks

_ATTEMPTS = 4  # gentler motion each time an object is lost in frame 0; the last one moves nothing


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
    """A sequence of frames from one photograph, by the maker the settings name.

    image: (h, w, 3) uint8 RGB. masks: one (h, w) bool mask per object. out_size: (height, width) of frames.
    The same image, masks, settings and state of `rng` give the same sample.
    """
    if settings.maker == "imgaug":
        from hodor_cli.training.samples.imgaug_sequence import make_imgaug_sequence

        return make_imgaug_sequence(image, masks, rng, settings, out_size, name=name)
    return make_fast_sequence(image, masks, rng, settings, out_size, name=name, others=others)


def make_fast_sequence(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
    *,
    name: str = "",
    others: Others | None = None,
) -> TrainingSample:
    """A sequence of `settings.frames` frames of `out_size` (height, width) from one photograph.

    image: (h, w, 3) uint8 RGB; masks: one (h, w) bool mask per object, in the order of their ids 1.. in the result.
    others: draws another photograph; without it there are no occluders, distractors or other backgrounds.
    Every object that shows in the photograph shows in frame 0.
    """
    labels = labels_of_masks(masks, image.shape[:2])
    apart = [labels == index + 1 for index in range(len(masks))]
    scene = draw_scene(image, apart, rng, settings, out_size, others)
    look = Look(rng, settings)
    drawn: list[DrawnFrame] = []
    for t in range(settings.frames):
        if t == 0:
            scene, (frame, label, valid) = _first_frame(scene, rng, settings)
        else:
            frame, label, valid = _later_frame(scene, t, rng, settings)
        drawn.append((look.apply(t, frame, valid), label, valid))
    return sample_of(drawn, len(masks), name)


def _first_frame(scene: Scene, rng: np.random.Generator, settings: AugmentSettings) -> tuple[Scene, DrawnFrame]:
    """Frame 0 with every object in it, and the scene that gave it: simpler than before if objects were lost."""
    for attempt in range(_ATTEMPTS):
        if attempt:
            scene = replace(scene, front=[])  # what stands in front may be to blame
        if attempt == _ATTEMPTS - 1:
            scene = replace(scene, view=fit_matrix(scene.image.shape[:2], scene.size))  # or the shared view
        frame = _draw(scene, 0, rng, settings, 1.0 - attempt / (_ATTEMPTS - 1))
        if _visible(frame[1], scene, settings).all():
            break
    return scene, frame


def _later_frame(scene: Scene, t: int, rng: np.random.Generator, settings: AugmentSettings) -> DrawnFrame:
    """A later frame; drawn again, gentler, while it shows none of the objects."""
    for attempt in range(_ATTEMPTS):
        frame = _draw(scene, t, rng, settings, 1.0 - attempt / (_ATTEMPTS - 1))
        if scene.ground.step is not None or _visible(frame[1], scene, settings).any():
            break
    return frame


def _visible(labels: NDArray[np.uint8], scene: Scene, settings: AugmentSettings) -> NDArray[np.bool_]:
    areas = np.bincount(labels.ravel(), minlength=len(scene.masks) + 1)[1:]
    return np.asarray(areas >= settings.min_visible * labels.size)


def _draw(scene: Scene, t: int, rng: np.random.Generator, settings: AugmentSettings, strength: float) -> DrawnFrame:
    """Frame t; strength 1 is the full motion of the settings, 0 none."""
    height, width = scene.size
    motion = scene.ground.at(t, lambda: frame_motion(scene.size, rng, settings, strength))
    ground = Warp(motion.matrix(((width - 1) / 2, (height - 1) / 2)) @ scene.view, scene.size, motion.bend)
    if scene.background is None:
        frame, labels, valid = _whole(scene, ground)
    else:
        frame, labels, valid = _layered(scene, scene.background, ground, t, rng, settings, strength)
    for cut, track in scene.front:
        valid |= _add_cut_out(frame, labels, cut, track, t, rng)
    return frame, labels, valid


def _whole(scene: Scene, warp: Warp) -> DrawnFrame:
    valid = warp.covers(scene.image.shape[:2])
    labels = np.zeros(scene.size, dtype=np.uint8)
    for index, mask in enumerate(warp_masks(warp, scene.masks)):
        labels[mask > 127] = index + 1
    labels[~valid] = 0
    return warp.apply(scene.image), labels, valid


def _layered(
    scene: Scene,
    background: NDArray[np.uint8],
    ground: Warp,
    t: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    strength: float,
) -> DrawnFrame:
    if background.shape != scene.image.shape:
        # Another photograph: it takes the place of the own one, whatever its size.
        ground = replace(
            ground, matrix=ground.matrix @ np.linalg.inv(fit_matrix(scene.image.shape[:2], background.shape[:2]))
        )
    frame = ground.apply(background, outside=None)
    labels = np.zeros(scene.size, dtype=np.uint8)
    for cut, track in scene.behind:
        _add_cut_out(frame, labels, cut, track, t, rng)
    for index, (mask, track) in enumerate(zip(scene.masks, scene.objects, strict=True)):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            continue
        centre = scene.view @ np.array([columns.mean(), rows.mean(), 1.0])
        motion = track.at(t, lambda: object_motion(scene.size, rng, settings, strength))
        warp = Warp(motion.matrix((float(centre[0]), float(centre[1]))) @ scene.view, scene.size, motion.bend)
        alpha = warp.apply(mask)
        paste(frame, warp.apply(scene.image, outside=None), alpha)
        labels[alpha > 127] = index + 1
    return frame, labels, np.ones(scene.size, dtype=bool)


def _add_cut_out(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    cut: Filmed,
    track: Track,
    t: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Paste an object of another photograph, in place; its pixels are background. Returns where it lies."""
    motion = track.at(t, lambda: cut_out_motion(cut, labels.shape, rng))
    middle = ((cut.alphas[0].shape[1] - 1) / 2, (cut.alphas[0].shape[0] - 1) / 2)
    warp = Warp(motion.matrix(middle), (labels.shape[0], labels.shape[1]))
    alpha = warp.apply(cut.alphas[0])
    paste(frame, warp.apply(cut.images[0]), alpha)
    covered = np.asarray(alpha > 127)
    labels[covered] = 0
    return covered


def sample_of_frame(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint16],
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
    *,
    max_objects: int,
) -> TrainingSample:
    """An augmented sequence of a frame (H, W, 3) uint8 RGB with its label map (H, W), of some of its objects.

    out_size: (height, width) of the sample's frames. What passes in front of the objects and behind them is background.
    """
    ids = [int(i) for i in np.unique(labels) if i != 0]
    masks = [labels == i for i in rng.permutation(ids)[:max_objects]]

    def others(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        return frame, _pieces_of_background(masks, labels > 0, rng)

    return make_still_sequence(frame, masks, rng, settings, out_size, others=others)


def _pieces_of_background(
    masks: Sequence[NDArray[np.bool_]], objects: NDArray[np.bool_], rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """At most one mask (H, W): the shape of an object at a place where mostly background is.

    Such pieces pass in front of the objects and behind them. Pieces of the objects themselves would teach the network
    that what looks like an object need not be it; it would then not find one again after losing it.
    """
    shape = masks[int(rng.integers(len(masks)))]
    rows, columns = np.nonzero(shape)
    rows, columns = rows - rows.min(), columns - columns.min()
    if rng.random() < 0.5:
        columns = columns.max() - columns
    spare = shape.shape[0] - rows.max(), shape.shape[1] - columns.max()
    for _ in range(10):
        piece = np.zeros_like(shape)
        piece[rows + int(rng.integers(spare[0])), columns + int(rng.integers(spare[1]))] = True
        piece &= ~objects
        if np.count_nonzero(piece) > len(rows) / 2:
            return [piece]
    return []
