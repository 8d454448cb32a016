"""Our own sequences from still images: faster than the paper's, and with motion the paper does not have.

Every frame is sampled once from the original photograph (or from the layers cut out of it), never from another frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hodor_cli.data.colour import degrade, frame_colour, shared_colour
from hodor_cli.data.layers import CutOut, Masks, Others, cut_out, fill_hole, paste, soften, touches_border
from hodor_cli.data.sample import TrainingSample, label_map, presence_of
from hodor_cli.data.settings import AugmentSettings
from hodor_cli.data.warp import Matrix, Warp, between, fit_matrix, motion_matrix, signed, smooth_field, warp_masks

_ATTEMPTS = 4  # gentler motion each time an object is lost in frame 0; the last one moves nothing


@dataclass(frozen=True)
class _Scene:
    """What is drawn once for the whole sequence."""

    image: NDArray[np.uint8]
    masks: list[NDArray[np.uint8]]  # one soft mask (0..255) per object, not overlapping
    background: NDArray[np.uint8] | None  # None: objects and background move together
    front: list[CutOut]
    behind: list[CutOut]
    view: Matrix  # photograph -> frame, before any motion
    size: tuple[int, int]


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
    others: draws another photograph; without it there are no occluders, distractors or strange backgrounds.
    Every object that shows in the photograph shows in frame 0.
    """
    labels = label_map(masks, image.shape[:2])
    hard = [labels == index + 1 for index in range(len(masks))]
    scene = _draw_scene(image, hard, rng, settings, out_size, others)
    tint = shared_colour(rng, settings)
    frames, label_maps, valids = [], [], []
    for t in range(settings.frames):
        frame, label, valid = _draw_frame(scene, rng, settings, first=t == 0)
        if tint is not None:
            frame = tint.apply(frame)
        frame = degrade(frame_colour(rng, settings).apply(frame), rng, settings)
        frame[~valid] = 0
        frames.append(frame)
        label_maps.append(label)
        valids.append(valid)
    stacked = np.stack(label_maps)
    return TrainingSample(
        frames=np.stack(frames),
        masks=stacked,
        valid=np.stack(valids),
        presence=presence_of(stacked, len(masks)),
        name=name,
        labelled=np.ones(settings.frames, dtype=bool),
    )


def _draw_scene(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    size: tuple[int, int],
    others: Others | None,
) -> _Scene:
    apart = rng.random() < settings.independent and not any(touches_border(mask) for mask in masks)
    background = None
    if apart:
        if others is not None and rng.random() < settings.other_background:
            background = others(rng)[0]
        else:
            background = fill_hole(image, np.logical_or.reduce(masks))
    front = _draw_cut_outs(rng, others) if rng.random() < settings.occluder else []
    behind = _draw_cut_outs(rng, others) if apart and rng.random() < settings.distractor else []
    soft = [mask.astype(np.uint8) * 255 for mask in masks]
    return _Scene(
        image, [soften(mask) for mask in soft] if apart else soft, background, front, behind,
        _draw_view(image.shape[:2], masks, rng, settings, size), size,
    )  # fmt: skip


def _draw_cut_outs(rng: np.random.Generator, others: Others | None) -> list[CutOut]:
    if others is None:
        return []
    image, masks = others(rng)
    if not masks:
        return []
    cut = cut_out(image, masks[int(rng.integers(len(masks)))])
    return [] if cut is None else [cut]


def _draw_view(
    source: tuple[int, int],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    size: tuple[int, int],
) -> Matrix:
    """The view all frames share: fit the photograph, then zoom and turn about one of the objects, perhaps mirrored."""
    fit = fit_matrix(source, size)
    height, width = size
    zoom = between(rng, settings.view_scale)
    turn = float(rng.uniform(-1, 1)) * settings.view_rotation
    mirror = bool(rng.random() < settings.flip)
    centre = ((width - 1) / 2, (height - 1) / 2)
    shift = (0.0, 0.0)
    if masks and zoom > 1:
        # Zooming in must not lose the object: bring it towards the middle as the zoom takes it away.
        rows, columns = np.nonzero(masks[int(rng.integers(len(masks)))])
        if len(rows):
            point = fit @ np.array([columns.mean(), rows.mean(), 1.0])
            spare = 1 - 1 / zoom
            offset = np.clip(point[:2] - np.array(centre), -spare * width / 2, spare * width / 2)
            mirrored = np.array([-1.0 if mirror else 1.0, 1.0])
            shift = tuple((-zoom * offset * mirrored).tolist())  # type: ignore[assignment]
    return motion_matrix(centre, scale=zoom, rotation=turn, shift=shift, mirror=mirror) @ fit


def _draw_frame(
    scene: _Scene, rng: np.random.Generator, settings: AugmentSettings, *, first: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """One frame: (H, W, 3) image, (H, W) labels, (H, W) valid. Frame 0 is drawn again, gentler, if it lost an object."""
    needed = settings.min_visible * scene.size[0] * scene.size[1]
    for attempt in range(_ATTEMPTS):
        strength = 1.0 - attempt / (_ATTEMPTS - 1)
        if attempt:
            # What stands in front may be to blame, and so may the shared view.
            scene = replace(scene, front=[])
        if first and attempt == _ATTEMPTS - 1:
            scene = replace(scene, view=fit_matrix(scene.image.shape[:2], scene.size))
        if scene.background is None:
            frame, labels, valid = _whole(scene, rng, settings, strength)
        else:
            frame, labels, valid = _layered(scene, scene.background, rng, settings, strength)
        for cut in scene.front:
            _add_cut_out(frame, labels, cut, rng, valid)
        areas = np.bincount(labels.ravel(), minlength=len(scene.masks) + 1)[1:]
        seen = areas >= needed
        if seen.all() or (not first and seen.any()):
            break
    return frame, labels, valid


def _whole(
    scene: _Scene, rng: np.random.Generator, settings: AugmentSettings, strength: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    warp = _draw_motion(scene, rng, settings, strength)
    valid = warp.covers(scene.image.shape[:2])
    labels = _labels(warp_masks(warp, scene.masks), scene.size)
    labels[~valid] = 0
    return warp.apply(scene.image), labels, valid


def _layered(
    scene: _Scene,
    background: NDArray[np.uint8],
    rng: np.random.Generator,
    settings: AugmentSettings,
    strength: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    ground = _draw_motion(scene, rng, settings, strength)
    if background.shape != scene.image.shape:
        # Another photograph: cover the frame as the own one would, whatever its size.
        cover = np.linalg.inv(fit_matrix(scene.image.shape[:2], background.shape[:2]))
        ground = replace(ground, matrix=ground.matrix @ cover)
    frame = ground.apply(background, outside=None)
    labels = np.zeros(scene.size, dtype=np.uint8)
    for cut in scene.behind:
        _add_cut_out(frame, labels, cut, rng, None)
    for index, mask in enumerate(scene.masks):
        warp = _draw_object_motion(scene, mask, rng, settings, strength)
        alpha = warp.apply(mask)
        paste(frame, warp.apply(scene.image, outside=None), alpha)
        labels[alpha > 127] = index + 1
    return frame, labels, np.ones(scene.size, dtype=bool)


def _draw_motion(scene: _Scene, rng: np.random.Generator, settings: AugmentSettings, strength: float) -> Warp:
    """The motion of a whole frame: the paper's translation, rotation, shear and crop, and ours."""
    height, width = scene.size
    zoom = 1.0 / between(rng, settings.crop_keep, strength) * _frame_zoom(rng, settings, strength)
    # A crop may lie anywhere in what it leaves.
    room_x, room_y = (max(0.0, zoom - 1) * side / 2 for side in (width, height))
    shift = (
        signed(rng, settings.translation, strength) * width + float(rng.uniform(-room_x, room_x)),
        signed(rng, settings.translation, strength) * height + float(rng.uniform(-room_y, room_y)),
    )
    return _motion_warp(scene, ((width - 1) / 2, (height - 1) / 2), zoom, shift, rng, settings, strength)


def _draw_object_motion(
    scene: _Scene, mask: NDArray[np.uint8], rng: np.random.Generator, settings: AugmentSettings, strength: float
) -> Warp:
    """The motion of one object about its own place."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    middle = np.array([columns.mean(), rows.mean(), 1.0]) if len(rows) else np.array([0.0, 0.0, 1.0])
    centre = scene.view @ middle
    reach = settings.object_motion * strength
    shift = (float(rng.normal(0, reach) * scene.size[1]), float(rng.normal(0, reach) * scene.size[0]))
    zoom = _frame_zoom(rng, settings, strength)
    return _motion_warp(scene, (float(centre[0]), float(centre[1])), zoom, shift, rng, settings, strength)


def _motion_warp(
    scene: _Scene,
    centre: tuple[float, float],
    zoom: float,
    shift: tuple[float, float],
    rng: np.random.Generator,
    settings: AugmentSettings,
    strength: float,
) -> Warp:
    motion = motion_matrix(
        centre,
        scale=zoom,
        rotation=signed(rng, settings.rotation, strength),
        shear=(signed(rng, settings.shear, strength), signed(rng, settings.shear, strength)),
        shift=shift,
    )
    bend = None
    if rng.random() < settings.elastic and strength > 0:
        bend = smooth_field(rng, scene.size, settings.elastic_strength * strength)
    return Warp(motion @ scene.view, scene.size, bend)


def _frame_zoom(rng: np.random.Generator, settings: AugmentSettings, strength: float) -> float:
    zoom = between(rng, settings.frame_scale, strength)
    if rng.random() < settings.scale_jump:
        zoom *= between(rng, settings.scale_jump_range, strength)
    return zoom


def _add_cut_out(
    frame: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    cut: CutOut,
    rng: np.random.Generator,
    valid: NDArray[np.bool_] | None,
) -> None:
    """Paste a strange object somewhere in the frame, in place: background to the labels."""
    height, width = labels.shape
    tall, wide = cut.alpha.shape
    scale = float(rng.uniform(0.2, 0.5)) * np.sqrt(height * width / (tall * wide))
    place = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
    middle = ((wide - 1) / 2, (tall - 1) / 2)
    matrix = motion_matrix(
        middle,
        scale=scale,
        rotation=float(rng.uniform(-20, 20)),
        shift=(place[0] - middle[0], place[1] - middle[1]),
    )
    warp = Warp(matrix, (height, width))
    alpha = warp.apply(cut.alpha)
    paste(frame, warp.apply(cut.image), alpha)
    labels[alpha > 127] = 0
    if valid is not None:
        valid[alpha > 127] = True


def _labels(soft: list[NDArray[np.uint8]], size: tuple[int, int]) -> NDArray[np.uint8]:
    labels = np.zeros(size, dtype=np.uint8)
    for index, mask in enumerate(soft):
        labels[mask > 127] = index + 1
    return labels
