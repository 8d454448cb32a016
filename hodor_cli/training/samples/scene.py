"""What is drawn once for a fast sequence: the view, the layers, and how each layer moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hodor_cli.training.samples.cutouts import Filmed, Masks, Others, fill_hole, soften, still_filmed, touches_border
from hodor_cli.training.samples.settings import AugmentSettings
from hodor_cli.training.samples.warp import (
    LayerMotion,
    Matrix,
    between,
    fit_matrix,
    motion_matrix,
    signed,
    smooth_field,
)


@dataclass
class Track:
    """The motion of one layer through the frames.

    step: None draws every frame anew; otherwise frame t lies t steps along the way from one draw towards another.
    """

    step: float | None
    _ends: tuple[LayerMotion, LayerMotion] | None = field(default=None, repr=False)

    def at(self, t: int, draw: Callable[[], LayerMotion]) -> LayerMotion:
        """The motion in frame t. Asking for frame 0 begins a new track."""
        if self.step is None:
            return draw()
        if t == 0 or self._ends is None:
            self._ends = (draw(), draw())
        return self._ends[0].towards(self._ends[1], self.step * t)


@dataclass(frozen=True)
class Scene:
    """Everything that the frames of one sequence share.

    masks: one soft mask (0..255) per object, not overlapping. background: None when objects and background move as one.
    front, behind: objects of other photographs, each with its track. view: photograph -> frame before any motion.
    """

    image: NDArray[np.uint8]
    masks: list[NDArray[np.uint8]]
    background: NDArray[np.uint8] | None
    front: list[tuple[Filmed, Track]]
    behind: list[tuple[Filmed, Track]]
    view: Matrix
    size: tuple[int, int]
    ground: Track
    objects: list[Track]


def draw_scene(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    size: tuple[int, int],
    others: Others | None,
) -> Scene:
    """Draw the scene of a sequence from a photograph and its masks, which do not overlap."""
    apart = rng.random() < settings.independent and not any(touches_border(mask) for mask in masks)
    background = None
    if apart:
        if others is not None and rng.random() < settings.other_background:
            background = others(rng)[0]
        else:
            background = fill_hole(image, np.logical_or.reduce(masks))
    smooth = rng.random() < settings.path

    def track() -> Track:
        return Track(float(rng.uniform(*settings.path_step)) if smooth else None)

    front = _draw_cut_outs(rng, others) if rng.random() < settings.occluder else []
    behind = _draw_cut_outs(rng, others) if apart and rng.random() < settings.distractor else []
    soft = [mask.astype(np.uint8) * 255 for mask in masks]
    return Scene(
        image=image,
        masks=[soften(mask) for mask in soft] if apart else soft,
        background=background,
        front=[(cut, track()) for cut in front],
        behind=[(cut, track()) for cut in behind],
        view=_draw_view(image.shape[:2], masks, rng, settings, size),
        size=size,
        ground=track(),
        objects=[track() for _ in masks],
    )


def frame_motion(
    size: tuple[int, int], rng: np.random.Generator, settings: AugmentSettings, strength: float
) -> LayerMotion:
    """The motion of a whole frame: the paper's translation, rotation, shear and crop, and our zoom and deformation."""
    height, width = size
    zoom = _frame_zoom(rng, settings, strength) - np.log(between(rng, settings.crop_keep, strength))
    # A crop may lie anywhere in what it leaves.
    room_x, room_y = (max(0.0, np.exp(zoom) - 1) * side / 2 for side in (width, height))
    shift = (
        signed(rng, settings.translation, strength) * width + float(rng.uniform(-room_x, room_x)),
        signed(rng, settings.translation, strength) * height + float(rng.uniform(-room_y, room_y)),
    )
    return _turned(size, float(zoom), shift, rng, settings, strength)


def object_motion(
    size: tuple[int, int], rng: np.random.Generator, settings: AugmentSettings, strength: float
) -> LayerMotion:
    """The motion of one object about its own place."""
    reach = settings.object_motion * strength
    shift = (float(rng.normal(0, reach) * size[1]), float(rng.normal(0, reach) * size[0]))
    return _turned(size, _frame_zoom(rng, settings, strength), shift, rng, settings, strength)


def cut_out_motion(cut: Filmed, size: tuple[int, int], rng: np.random.Generator) -> LayerMotion:
    """A place, size and turn for an object of another photograph, from its own crop to the frame."""
    height, width = size
    tall, wide = cut.alphas[0].shape
    zoom = np.log(rng.uniform(0.2, 0.5)) + 0.5 * np.log(height * width / (tall * wide))
    shift = (float(rng.uniform(0, width) - (wide - 1) / 2), float(rng.uniform(0, height) - (tall - 1) / 2))
    return LayerMotion(float(zoom), float(rng.uniform(-20, 20)), (0.0, 0.0), shift)


def _turned(
    size: tuple[int, int],
    zoom: float,
    shift: tuple[float, float],
    rng: np.random.Generator,
    settings: AugmentSettings,
    strength: float,
) -> LayerMotion:
    rotation = signed(rng, settings.rotation, strength)
    shear = (signed(rng, settings.shear, strength), signed(rng, settings.shear, strength))
    bend = None
    if rng.random() < settings.elastic and strength > 0:
        bend = smooth_field(rng, size, settings.elastic_strength * strength)
    return LayerMotion(zoom, rotation, shear, shift, bend)


def _frame_zoom(rng: np.random.Generator, settings: AugmentSettings, strength: float) -> float:
    """The logarithm of a frame's own zoom."""
    zoom = float(np.log(between(rng, settings.frame_scale, strength)))
    if rng.random() < settings.scale_jump:
        zoom += float(np.log(between(rng, settings.scale_jump_range, strength)))
    return zoom


def _draw_cut_outs(rng: np.random.Generator, others: Others | None) -> list[Filmed]:
    if others is None:
        return []
    image, masks = others(rng)
    if not masks:
        return []
    cut = still_filmed(image, masks[int(rng.integers(len(masks)))], frames=1)
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
            across, down = np.clip(point[:2] - np.array(centre), -spare * width / 2, spare * width / 2)
            shift = (float(-zoom * across * (-1 if mirror else 1)), float(-zoom * down))
    return motion_matrix(centre, scale=zoom, rotation=turn, shift=shift, mirror=mirror) @ fit
