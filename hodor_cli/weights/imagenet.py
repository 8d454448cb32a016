"""Starting a backbone from ImageNet weights as they are published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from hodor_cli.errors import WeightsError
from hodor_cli.model.mobilenet import Conv, MobileNetV2
from hodor_cli.model.swin import Swin
from hodor_cli.weights.tensor_files import converted, fault_of, is_pickle, read_pickle, read_safetensors


def load_imagenet_backbone(backbone: Swin | MobileNetV2, path: str | Path) -> None:
    """Copy ImageNet weights into a backbone, in place. Classifiers are ignored.

    Swin: a `.pth` or safetensors file as the Swin authors and the detection codebases publish it; the norms of the
    outputs keep their start. MobileNetV2: safetensors with `convNN.weight` and `convNN.bias`, NN in network order, and
    batch norms folded in. Raises InputError if there is no such file, WeightsError if it is damaged, carries code, does
    not fit, or holds values that are not finite.
    """
    path = Path(path)
    tensors = read_pickle(path) if is_pickle(path) else read_safetensors(path)[1]
    swin = isinstance(backbone, Swin)
    chosen: dict[str, Tensor] = {}
    parameters = dict(backbone.named_parameters())
    for own, published in _swin_names(backbone) if swin else _mobilenet_names(backbone):
        value = tensors.get(published, tensors.get(f"backbone.{published}"))
        if value is None or fault_of(published, value, parameters[own]):
            raise WeightsError(
                f"{path} does not fit the backbone: {published.removesuffix('.weight')} should be"
                f" {tuple(parameters[own].shape)}; use ImageNet weights of"
                f" {'Swin-T (patch 4, window 7)' if swin else 'MobileNetV2 1.0'}"
            )
        chosen[own] = value
    with torch.no_grad():
        for own, value in converted(chosen, torch.float32, path).items():
            parameters[own].copy_(value)


def _swin_names(backbone: nn.Module) -> Iterator[tuple[str, str]]:
    return ((name, name) for name, _ in backbone.named_parameters() if not name.startswith("norms."))


def _mobilenet_names(backbone: nn.Module) -> Iterator[tuple[str, str]]:
    convolutions = [name for name, module in backbone.named_modules() if isinstance(module, Conv)]
    for number, name in enumerate(convolutions):
        for part in ("weight", "bias"):
            yield f"{name}.{part}", f"conv{number:02d}.{part}"
