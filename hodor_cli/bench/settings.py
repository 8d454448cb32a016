"""What is measured, and with which network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hodor_cli.config import PRESETS
from hodor_cli.errors import UsageError
from hodor_cli.model import Hodor, build_model
from hodor_cli.weights.registry import available_weights, load_model


@dataclass(frozen=True)
class BenchSettings:
    """One measurement.

    `size` is (width, height) of the clip; `frames` are timed in each of `rounds` rounds, plain and engine in turn.
    `weights` names weights or a file; a preset without weights (`swin-tiny`, `toy`) runs with random ones.
    """

    weights: str = "mini"
    size: tuple[int, int] = (854, 480)
    objects: int = 1
    history: int = 7
    frames: int = 5
    rounds: int = 5
    device: str = "auto"
    precision: str = "auto"
    min_dim: int | None = None
    max_dim: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("objects", "history", "frames", "rounds"):
            if getattr(self, name) < 1:
                raise UsageError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if min(self.size) < 32:
            raise UsageError(f"`size` must be at least 32x32, not {self.size[0]}x{self.size[1]}")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of "854x480". Raises UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text.strip())
    if match is None:
        raise UsageError(f"`size` takes WIDTHxHEIGHT such as 854x480, not {text!r}")
    return int(match[1]), int(match[2])


def bench_model(weights: str) -> tuple[Hodor, bool]:
    """The network of a name or file, and whether its weights are trained.

    A preset without weights of that name gets random ones: speed does not depend on them. Raises as `load_model`.
    """
    if weights in PRESETS and weights not in available_weights() and not Path(weights).is_file():
        return build_model(weights), False
    return load_model(weights), True
