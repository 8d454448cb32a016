"""Which network is measured."""

from __future__ import annotations

from pathlib import Path

from hodor_cli.config import PRESETS
from hodor_cli.model.hodor import Hodor, build_model
from hodor_cli.weights.registry import available_weights, load_model


def bench_model(weights: str) -> tuple[Hodor, bool]:
    """The network of a name or file, and whether its weights are trained.

    A preset without weights of that name gets random ones: speed does not depend on them. Raises as `load_model`.
    """
    if weights in PRESETS and weights not in available_weights() and not Path(weights).is_file():
        return build_model(weights), False
    return load_model(weights), True
