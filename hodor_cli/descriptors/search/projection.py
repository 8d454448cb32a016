"""A projection of descriptors and baseline features, and its file.

It is one linear map, learned from photographs that are moved and recoloured (`projection_training.py`). It is valid for
one network only, so the file holds the model's fingerprint, and vectors of other models are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from hodor_cli.errors import InputError, WeightsError
from hodor_cli.files import ELSEWHERE
from hodor_cli.weights.registry import BUNDLED
from hodor_cli.weights.tensor_files import read_safetensors, write_safetensors

FORMAT_NAME = "hodor-projection"
FORMAT_VERSION = "1"
_ARRAYS = ("mean", "deviation", "centre", "weight")
#: The limit for projections whose file has none: the one learned for `mini`.
ALIKE_BELOW = 1.03


@dataclass(frozen=True)
class Projection:
    """Maps descriptors (n, C) and baseline features (n, B) to vectors (n, D) of unit length, which are compared.

    mean, deviation (C,): mean and standard deviation of the descriptor's channels. centre (C + B,) and weight
    (C + B, D): the linear map. All float32. settings: how it was learned.
    """

    mean: np.ndarray
    deviation: np.ndarray
    centre: np.ndarray
    weight: np.ndarray
    model_fingerprint: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alike_below(self) -> float:
        """The distance between projected vectors below which two views are taken to show the same object."""
        limit = self.settings.get("alike_below")
        return float(limit) if isinstance(limit, int | float) and 0 < limit < 2 else ALIKE_BELOW

    def __call__(self, descriptors: np.ndarray, baseline: np.ndarray) -> np.ndarray:
        """(n, C) and (n, B) of the same rows -> (n, D) float32 of unit length. Raises InputError for other widths."""
        channels, features = len(self.mean), len(self.weight) - len(self.mean)
        if descriptors.shape[1] != channels or baseline.shape[1] != features:
            given = f"{descriptors.shape[1]} and {baseline.shape[1]}"
            raise InputError(f"the projection takes {channels} and {features} channels, not {given}; learn another")
        both = joined(descriptors, baseline, self.mean, self.deviation)
        return unit_length((both - self.centre) @ self.weight).astype(np.float32)

    def require_model(self, model_fingerprint: str, file: Path | None = None) -> None:
        """Raise InputError, naming the projection's file, unless it was learned for this model."""
        if self.model_fingerprint != model_fingerprint:
            raise InputError(
                f"the projection{f' {file}' if file else ''} is for other weights; learn one with `fit_projection`"
            )


def joined(descriptors: np.ndarray, baseline: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(n, C + B) float32: what the linear map reads.

    Descriptors are standardised and scaled to length 1/2; each of the baseline's two parts has length 1. With a larger
    weight for descriptors, fewer objects of held-out photographs were found.
    """
    return np.concatenate([0.5 * unit_length((descriptors - mean) / deviation), baseline], axis=1).astype(np.float32)


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows (n, C) scaled to length one; zero rows stay zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length == 0, 1, length)


def save_projection(path: str | Path, projection: Projection) -> None:
    """Write a safetensors file with the settings in its header, atomically. Raises OutputError if that fails."""
    tensors = {name: torch.from_numpy(np.asarray(getattr(projection, name), np.float32)) for name in _ARRAYS}
    settings = json.dumps(dict(projection.settings))
    header = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, "settings": settings}
    header["model_fingerprint"] = projection.model_fingerprint
    write_safetensors(Path(path), tensors, header, way_out=ELSEWHERE)


def load_projection(path: str | Path) -> Projection:
    """Read a file written by `save_projection`. Raises InputError if it is missing, WeightsError for any other file."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no projection file {path}; make one with `fit_projection`")
    header, tensors = read_safetensors(path, "projection")
    arrays = {name: tensor.numpy() for name, tensor in tensors.items() if tensor.dtype == torch.float32}
    try:
        settings = msgspec.json.decode(header.get("settings", "{}"), type=dict[str, Any])
    except (ValueError, RecursionError):
        raise WeightsError(f"{path} has damaged settings; make it again with `fit_projection`") from None
    fits = set(arrays) == set(_ARRAYS) and arrays["weight"].ndim == 2 and arrays["mean"].ndim == 1
    fits = fits and arrays["deviation"].shape == arrays["mean"].shape
    fits = fits and arrays["centre"].shape == arrays["weight"].shape[:1]
    sound = all(np.isfinite(array).all() for array in arrays.values())
    if header.get("format") != FORMAT_NAME or not (fits and sound):
        raise WeightsError(f"{path} is not a projection file; give one that `fit_projection` wrote")
    if header.get("format_version") != FORMAT_VERSION:
        raise WeightsError(f"{path} has another format than {FORMAT_VERSION}; make it again with `fit_projection`")
    return Projection(**arrays, model_fingerprint=header.get("model_fingerprint", ""), settings=settings)


def projection_for(model_fingerprint: str, file: Path | None = None) -> Projection | None:
    """The projection in `file`, or by default the package's own for this model; None if the package has none.

    Raises as `load_projection` does, and InputError if the file's projection was learned for another model.
    """
    if file is None:
        # NAME.projection.safetensors is stored next to NAME.safetensors.
        known = map(load_projection, sorted(BUNDLED.glob("*.projection.safetensors")))
        return next((one for one in known if one.model_fingerprint == model_fingerprint), None)
    projection = load_projection(file)
    projection.require_model(model_fingerprint, file)
    return projection
