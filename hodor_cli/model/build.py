"""Builds a network that is ready for use."""

from __future__ import annotations

import torch

from hodor_cli.config import ModelConfig
from hodor_cli.model.fast import accelerate
from hodor_cli.model.hodor import Hodor
from hodor_cli.presets import preset


def build_model(config: ModelConfig | str, *, seed: int | None = None) -> Hodor:
    """A network with random weights from a configuration or a preset's name, in evaluation mode and accelerated.

    The caller's random state does not change. Raises UsageError for an unknown preset.
    """
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return accelerate(Hodor(preset(config) if isinstance(config, str) else config)).eval()
