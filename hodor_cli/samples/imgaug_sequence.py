"""The paper's sequences from still images, made with imgaug (HODOR, CVPR 2022, sec. 4).

Every frame is the original photograph under its own random geometry; for frame 0 it is drawn again while an object is
lost. Colours are drawn once for a sequence unless `colour_each_frame` is set. Ranges apply in both directions; hue is a
share of the colour circle.

imgaug 0.4.0 was written for NumPy 1.1x and needs two names that were removed later: `np.bool` (missing from 1.24 until
2.0) and `np.sctypes` (missing since 2.0). They are restored before imgaug is imported, here and nowhere else.
"""

from __future__ import annotations

import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import DataError
from hodor_cli.samples.sample import DrawnFrame, Masks, areas_of, labels_of_masks
from hodor_cli.samples.settings import AugmentSettings, Range

_INSTALL = "`pip install --no-deps imgaug==0.4.0` and `pip install imageio scikit-image shapely six`"
_ATTEMPTS = 5  # draws for frame 0 before the photograph is used as it is
_KEPT = 0.5  # share of each object's pixels that frame 0 must show
#: Settings that imgaug does not use, each of which the fast maker uses alone.
_UNUSED = (
    "view_scale", "view_rotation", "frame_scale", "scale_jump", "path", "independent", "occluder", "elastic",
    "shared_colour", "grey", "blur", "compression",
)  # fmt: skip


def draw_with_imgaug(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
) -> list[DrawnFrame]:
    """The frames of a sequence, for `make_still_sequence`. Raises DataError if imgaug is not installed."""
    size = (out_size[1], out_size[0])
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    labels: Any = cv2.resize(labels_of_masks(masks), size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < settings.flip:
        image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    fixed = None if settings.colour_each_frame else colour_augmenter(settings, _seed(rng)).to_deterministic()
    least = np.maximum(_KEPT * areas_of(labels, len(masks)), settings.min_visible * labels.size)
    drawn: list[DrawnFrame] = []
    for t in range(settings.frames):
        for _ in range(_ATTEMPTS):
            frame, label, valid = _moved(image, labels, rng, settings)
            if t or (areas_of(label, len(masks)) >= least).all():
                break
        else:
            frame, label, valid = image.copy(), labels.copy(), np.ones(labels.shape, dtype=bool)
        frame = np.array((fixed or colour_augmenter(settings, _seed(rng)))(image=frame))
        frame[~valid] = 0
        drawn.append((frame, label, valid))
    return drawn


def unused_settings(settings: AugmentSettings) -> list[str]:
    """The settings that are not at their defaults and have no effect on photographs with imgaug."""
    plain = AugmentSettings()
    return [f"augment.{name}" for name in _UNUSED if getattr(settings, name) != getattr(plain, name)]


def _moved(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator, settings: AugmentSettings
) -> DrawnFrame:
    _, segmentation_maps = load_imgaug()
    keep = float(rng.uniform(*settings.crop_keep))
    augmenter = geometry_augmenter(settings, labels.shape, keep, _seed(rng)).to_deterministic()
    # The segmentation map holds 1 + label, so that 0 marks pixels from outside the image.
    maps = segmentation_maps(labels.astype(np.int32) + 1, shape=image.shape)
    frame, moved = augmenter(image=image, segmentation_maps=maps)
    codes = moved.get_arr()
    return np.array(frame), np.maximum(codes - 1, 0).astype(np.uint8), codes > 0


def geometry_augmenter(settings: AugmentSettings, size: tuple[int, int], keep: float, seed: int) -> Any:
    """The imgaug augmenter of one frame's geometry: a crop that keeps `keep` of each side, then an affine motion."""
    iaa, _ = load_imgaug()
    height, width = size
    shift = {axis: _either(iaa, settings.translation) for axis in "xy"}
    rotate = _either(iaa, settings.rotation)
    shear = {axis: _either(iaa, settings.shear) for axis in "xy"}
    return _seeded(
        iaa,
        seed,
        iaa.CropToFixedSize(width=max(1, round(width * keep)), height=max(1, round(height * keep)), position="uniform"),
        iaa.Resize({"height": height, "width": width}),
        iaa.Affine(translate_percent=shift, rotate=rotate, shear=shear),
    )


def colour_augmenter(settings: AugmentSettings, seed: int) -> Any:
    """The imgaug augmenter of colours. imgaug measures changes of hue (of the circle) and saturation in 1/255."""
    iaa, _ = load_imgaug()
    contrast, brightness = (
        iaa.meta.iap.Add(_either(iaa, bounds), 1.0) for bounds in (settings.contrast, settings.brightness)
    )
    hue, saturation = (_either(iaa, bounds, 255) for bounds in (settings.hue, settings.saturation))
    return _seeded(
        iaa,
        seed,
        iaa.AddToHueAndSaturation(value_hue=hue, value_saturation=saturation),
        iaa.LinearContrast(alpha=contrast),
        iaa.MultiplyBrightness(mul=brightness),
    )


def _seeded(iaa: Any, seed: int, *augmenters: Any) -> Any:
    augmenter = iaa.Sequential(list(augmenters))
    augmenter.seed_(seed)  # seeds the inner augmenters too, unlike the `seed` argument of `Sequential`
    return augmenter


def _either(iaa: Any, bounds: Range, scale: int | None = None) -> Any:
    """imgaug's form of `signed`, a draw with a random sign; with a scale, in whole units of 1/scale."""
    stochastic = iaa.meta.iap
    if scale is None:
        return stochastic.RandomSign(stochastic.Uniform(*bounds))
    return stochastic.RandomSign(stochastic.DiscreteUniform(*(round(bound * scale) for bound in bounds)))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))


def restore_numpy_names() -> None:
    """Restore the NumPy names that imgaug 0.4.0 needs; existing names are left alone."""
    if "sctypes" not in np.__dict__:
        np.sctypes = {  # type: ignore[attr-defined]
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64, np.longdouble],
            "complex": [np.complex64, np.complex128, np.clongdouble],
            "others": [bool, object, bytes, str, np.void],
        }
    if "bool" not in np.__dict__:
        np.bool = np.bool_  # type: ignore[misc,assignment]


def load_imgaug() -> tuple[Any, Any]:
    """(`imgaug.augmenters`, `SegmentationMapsOnImage`). Raises DataError if imgaug or a package it needs is missing."""
    restore_numpy_names()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import imgaug.augmenters as augmenters
            from imgaug.augmentables.segmaps import SegmentationMapsOnImage
    except ImportError as error:
        raise DataError(
            f"the paper's augmentation needs imgaug ({error}); install it with {_INSTALL} (without a display, use"
            " opencv-python-headless), or train with `augment=fast`"
        ) from error
    return augmenters, SegmentationMapsOnImage
