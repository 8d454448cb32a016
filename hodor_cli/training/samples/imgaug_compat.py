"""imgaug 0.4.0 under today's NumPy.

imgaug was written for NumPy 1.1x. Two names it needs are gone since: `np.bool` (from 1.24 until 2.0) and `np.sctypes`
(from 2.0). They are put back, where missing, before it is imported. This is the only module that imports imgaug.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from hodor_cli.errors import DataError

_INSTALL = "`pip install --no-deps imgaug==0.4.0` beside `pip install imageio scikit-image shapely six`"


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
            f"imgaug needs OpenCV, and this OpenCV needs a display library that is missing ({text}): replace "
            "opencv-python by opencv-python-headless, or train with `--augment fast`, which needs no imgaug."
        )
    missing = getattr(error, "name", None) or "imgaug"
    return (
        f"The paper's augmentation needs imgaug, but {missing} is not installed ({text}): {_INSTALL}, or train with "
        "`--augment fast`, which needs no imgaug."
    )
