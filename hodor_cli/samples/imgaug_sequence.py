"""The paper's sequences from still images, made with imgaug (HODOR, CVPR 2022, sec. 4).

Every frame is the original photograph through its own draw of the geometry, which for frame 0 is drawn again while it
loses an object. Colours are drawn once for a sequence unless `colour_each_frame` says otherwise. Ranges are used in
either direction; hue is a share of the colour circle.

imgaug 0.4.0 was written for NumPy 1.1x. Two names it needs are gone since: `np.bool` (from 1.24 until 2.0) and
`np.sctypes` (from 2.0). They are put back, where missing, before it is imported, here and nowhere else.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import DataError
from hodor_cli.samples.sample import DrawnFrame, Masks, areas_of, labels_of_masks
from hodor_cli.samples.settings import AugmentSettings, Range

_INSTALL = "`pip install --no-deps imgaug==0.4.0` beside `pip install imageio scikit-image shapely six`"
_ATTEMPTS = 5  # draws for frame 0 before the photograph itself is taken
_KEPT = 0.5  # share of each object's pixels that frame 0 must show


def draw_with_imgaug(
    image: NDArray[np.uint8],
    masks: Masks,
    rng: np.random.Generator,
    settings: AugmentSettings,
    out_size: tuple[int, int],
) -> list[DrawnFrame]:
    """The frames of a sequence, as `make_still_sequence` makes it. Raises DataError when imgaug is not installed."""
    import cv2

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


def _moved(
    image: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator, settings: AugmentSettings
) -> DrawnFrame:
    _, segmentation_maps = load_imgaug()
    keep = float(rng.uniform(*settings.crop_keep))
    augmenter = geometry_augmenter(settings, labels.shape, keep, _seed(rng)).to_deterministic()
    # One segmentation map carries the labels and, as 1 + label, which pixels come from the image at all.
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
    """The imgaug augmenter of colours. imgaug counts hue and saturation on a scale of 255, where 255 is the circle."""
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
    augmenter.seed_(seed)  # also all those inside it; the `seed` argument of `Sequential` would leave them out
    return augmenter


def _either(iaa: Any, bounds: Range, scale: int | None = None) -> Any:
    """imgaug's form of 'from the range, in either direction'; with a scale in whole numbers of it."""
    stochastic = iaa.meta.iap
    if scale is None:
        return stochastic.RandomSign(stochastic.Uniform(*bounds))
    return stochastic.RandomSign(stochastic.DiscreteUniform(*(round(bound * scale) for bound in bounds)))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))


def restore_numpy_names() -> None:
    """Give NumPy the names back that imgaug 0.4.0 reads; names that exist are left alone."""
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
    """(`imgaug.augmenters`, `SegmentationMapsOnImage`). Raises DataError when imgaug or what it needs is missing."""
    restore_numpy_names()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import imgaug.augmenters as augmenters
            from imgaug.augmentables.segmaps import SegmentationMapsOnImage
    except ImportError as error:
        raise DataError(
            f"the paper's augmentation needs imgaug, which cannot be loaded ({error}): {_INSTALL}, without a display"
            " opencv-python-headless in place of opencv-python, or train with `augment=fast`, which needs no imgaug"
        ) from error
    return augmenters, SegmentationMapsOnImage
