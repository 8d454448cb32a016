"""The paper's sequences from still images, made with imgaug (HODOR, CVPR 2022, sec. 4).

The fixed mapping of each range to its augmenter:

| range | augmenter |
|---|---|
| crop keeping 60-90 % of the side, at a random place | `CropToFixedSize(position="uniform")`, then `Resize` back |
| translation 0-25 % of the side, either direction | `Affine(translate_percent=...)` |
| rotation and shear 0-10 degrees, either direction | the same `Affine(rotate=..., shear={"x", "y"})` |
| hue 0-12 % (of the circle), saturation 0-12 % (of its scale), either direction | `AddToHueAndSaturation` |
| contrast 0-5 %, linear, either direction | `LinearContrast` |
| brightness 0-25 %, either direction | `MultiplyBrightness` |

Every frame is the original photograph through its own draw of the geometry, which for frame 0 is drawn again while it
loses an object. Colours are drawn once for a sequence unless `colour_each_frame` says otherwise.

imgaug 0.4.0 was written for NumPy 1.1x. Two names it needs are gone since: `np.bool` (from 1.24 until 2.0) and
`np.sctypes` (from 2.0). They are put back, where missing, before it is imported, here and nowhere else.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hodor_cli.errors import DataError
from hodor_cli.training.samples.sample import DrawnFrame, Masks, labels_of_masks
from hodor_cli.training.samples.settings import AugmentSettings, Range

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

    height, width = out_size
    image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    labels = np.asarray(
        cv2.resize(labels_of_masks(masks), (width, height), interpolation=cv2.INTER_NEAREST),
        dtype=np.uint8,
    )
    if rng.random() < settings.flip:
        image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    fixed = None if settings.colour_each_frame else colour_augmenter(settings, _seed(rng)).to_deterministic()
    drawn: list[DrawnFrame] = []
    for t in range(settings.frames):
        frame, label, valid = _draw_geometry(image, labels, len(masks), rng, settings, first=t == 0)
        colours = colour_augmenter(settings, _seed(rng)) if fixed is None else fixed
        frame = np.array(colours(image=frame))
        frame[~valid] = 0
        drawn.append((frame, label, valid))
    return drawn


def geometry_augmenter(settings: AugmentSettings, size: tuple[int, int], keep: float, seed: int) -> Any:
    """The imgaug augmenter of one frame's geometry: a crop that keeps `keep` of each side, then an affine motion."""
    iaa, _ = load_imgaug()
    height, width = size
    augmenters = [
        iaa.CropToFixedSize(width=max(1, round(width * keep)), height=max(1, round(height * keep)), position="uniform"),
        iaa.Resize({"height": height, "width": width}),
        iaa.Affine(
            translate_percent={"x": _either(iaa, settings.translation), "y": _either(iaa, settings.translation)},
            rotate=_either(iaa, settings.rotation),
            shear={"x": _either(iaa, settings.shear), "y": _either(iaa, settings.shear)},
        ),
    ]
    augmenter = iaa.Sequential(augmenters)
    augmenter.seed_(seed)  # also all those inside it; the `seed` argument of `Sequential` would leave them out
    return augmenter


def colour_augmenter(settings: AugmentSettings, seed: int) -> Any:
    """The imgaug augmenter of colours. imgaug counts hue and saturation on a scale of 255, where 255 is the circle."""
    iaa, _ = load_imgaug()
    contrast, brightness = (
        iaa.meta.iap.Add(_either(iaa, bounds), 1.0) for bounds in (settings.contrast, settings.brightness)
    )
    augmenters = [
        iaa.AddToHueAndSaturation(
            value_hue=_either(iaa, settings.hue, 255), value_saturation=_either(iaa, settings.saturation, 255)
        ),
        iaa.LinearContrast(alpha=contrast),
        iaa.MultiplyBrightness(mul=brightness),
    ]
    augmenter = iaa.Sequential(augmenters)
    augmenter.seed_(seed)  # also all those inside it; the `seed` argument of `Sequential` would leave them out
    return augmenter


def _draw_geometry(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    num_objects: int,
    rng: np.random.Generator,
    settings: AugmentSettings,
    *,
    first: bool,
) -> DrawnFrame:
    _, segmentation_maps = load_imgaug()
    before = np.bincount(labels.ravel(), minlength=num_objects + 1)[1:]
    for _ in range(_ATTEMPTS):
        keep = float(rng.uniform(*settings.crop_keep))
        augmenter = geometry_augmenter(settings, labels.shape, keep, _seed(rng)).to_deterministic()
        # One segmentation map carries the labels and, as 1 + label, which pixels come from the image at all.
        maps = segmentation_maps(labels.astype(np.int32) + 1, shape=image.shape)
        frame, moved = augmenter(image=image, segmentation_maps=maps)
        codes = moved.get_arr()
        valid = codes > 0
        label = np.maximum(codes - 1, 0).astype(np.uint8)
        after = np.bincount(label.ravel(), minlength=num_objects + 1)[1:]
        kept = after >= np.maximum(_KEPT * before, settings.min_visible * labels.size)
        if not first or kept.all():
            return np.array(frame), label, valid
    return image.copy(), labels.copy(), np.ones(labels.shape, dtype=bool)


def _either(iaa: Any, bounds: Range, factor: float = 1.0) -> Any:
    """imgaug's form of 'from the range, in either direction'."""
    stochastic = iaa.meta.iap
    low, high = bounds[0] * factor, bounds[1] * factor
    if factor != 1.0:
        # AddToHueAndSaturation takes whole numbers only.
        low, high = round(low), round(high)
        return stochastic.RandomSign(stochastic.DiscreteUniform(low, high))
    return stochastic.RandomSign(stochastic.Uniform(low, high))


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
        raise DataError(explain_import_error(error)) from error
    return augmenters, SegmentationMapsOnImage


def explain_import_error(error: ImportError) -> str:
    """One sentence: what is missing for imgaug and the way out."""
    text = str(error)
    if "libGL" in text or "libgthread" in text or "libglib" in text:
        return (
            f"imgaug needs OpenCV, and this OpenCV needs a display library that is missing ({text}): replace"
            " opencv-python by opencv-python-headless, or train with `augment=fast`, which needs no imgaug"
        )
    missing = getattr(error, "name", None) or "imgaug"
    return (
        f"the paper's augmentation needs imgaug, but {missing} is not installed ({text}): {_INSTALL}, or train with"
        " `augment=fast`, which needs no imgaug"
    )
