"""The network that a run starts from: random, with a backbone from ImageNet, or a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from hodor_cli.config import ModelConfig, preset
from hodor_cli.errors import WeightsError
from hodor_cli.model.fast import accelerate
from hodor_cli.model.hodor import Hodor


def starting_model(
    model: str, *, weights: str | Path | None = None, backbone: str | Path | None = None, seed: int = 0
) -> Hodor:
    """The network of the preset `model`, with the parameters of `weights` (a name or a file), else random from `seed`.

    backbone: ImageNet weights for the backbone of a network that is otherwise random. Raises WeightsError for a
    checkpoint of another architecture, or a backbone file that does not fit.
    """
    if weights:
        from hodor_cli.weights import load_model

        loaded = load_model(weights)
        require_architecture(loaded.config, model, weights)
        return loaded
    network = random_model(preset(model), seed)
    if backbone:
        from hodor_cli.weights.imagenet import load_imagenet_backbone

        load_imagenet_backbone(network.backbone, backbone)
    return network


def random_model(config: ModelConfig, seed: int) -> Hodor:
    """A network with the random weights of a seed; the caller's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return accelerate(Hodor(config))


def architecture_of(weights: str | Path) -> str:
    """The name of the architecture in a weights file or of named weights. Raises as `load_model` does."""
    from hodor_cli.weights import load_checkpoint, weights_path

    return load_checkpoint(weights_path(weights)).config.name


def require_architecture(config: ModelConfig, model: str, weights: str | Path) -> None:
    """Raise WeightsError, naming both, if the weights are of another architecture than what is to be trained."""
    if config.name != model:
        raise WeightsError(
            f"{weights} holds a '{config.name}' network but '{model}' is to be trained; choose weights of '{model}', or"
            f" a `preset` or `model` of '{config.name}'"
        )
