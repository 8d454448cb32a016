"""Weights: named ones in the package, checkpoint files, and the authors' released checkpoints."""

from hodor_cli.weights.checkpoint import (
    average_models,
    load_checkpoint,
    model_fingerprint,
    model_from_checkpoint,
    save_checkpoint,
)
from hodor_cli.weights.registry import DEFAULT_WEIGHTS, available_weights, load_model, weights_path

__all__ = [
    "DEFAULT_WEIGHTS",
    "available_weights",
    "average_models",
    "load_checkpoint",
    "load_model",
    "model_fingerprint",
    "model_from_checkpoint",
    "save_checkpoint",
    "weights_path",
]
