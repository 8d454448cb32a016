"""Settings of a measurement, and the network that is measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.errors import UsageError
from hodor_cli.settings import about

if TYPE_CHECKING:
    from hodor_cli.model import Hodor


@dataclass(frozen=True)
class BenchSettings(SegmenterSettings):
    """One measurement. A preset without weights (`swin-tiny`, `toy`) runs with random ones.

    size: (width, height) of the clip.
    """

    weights: Annotated[str, about("Weights by name (see `hodor weights list`), a file, or a preset.")] = "mini"
    size: tuple[int, int] = (854, 480)
    objects: Annotated[int, about("Objects in the clip.", least=1)] = 1
    frames: Annotated[int, about("Frames a round.", least=1)] = 5
    rounds: Annotated[int, about("Rounds, plain and engine in turn.", least=1)] = 5
    threads: Annotated[int | None, about("Threads on the CPU [default: PyTorch's].", least=1)] = None
    contend: Annotated[int, about("Measure once more beside N busy processes.", least=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
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
    from hodor_cli.config import PRESETS
    from hodor_cli.model import build_model
    from hodor_cli.weights.registry import available_weights, load_model

    if weights in PRESETS and weights not in available_weights() and not Path(weights).is_file():
        return build_model(weights), False
    return load_model(weights), True
