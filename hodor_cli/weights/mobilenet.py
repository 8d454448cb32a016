"""Starting a MobileNetV2 backbone from ImageNet weights whose batch norms are folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from hodor_cli.errors import InputError, WeightsError
from hodor_cli.model.mobilenet import Conv, MobileNetV2


def load_imagenet_backbone(backbone: MobileNetV2, path: str | Path) -> None:
    """Copy `convNN.weight` and `convNN.bias` (NN in network order) into the stem and the blocks; a head is ignored.

    Raises InputError if there is no such file and WeightsError if it does not hold these convolutions.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no backbone file {path}; check the path")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}); fetch or copy it again") from error
    convolutions = [module for module in backbone.modules() if isinstance(module, Conv)]
    for number, conv in enumerate(convolutions):
        weight, bias = (tensors.get(f"conv{number:02d}.{part}") for part in ("weight", "bias"))
        if weight is None or bias is None or weight.shape != conv.weight.shape or conv.bias is None:
            raise WeightsError(
                f"{path} does not fit the backbone: conv{number:02d} should be {tuple(conv.weight.shape)};"
                " use ImageNet weights of MobileNetV2 1.0"
            )
        conv.weight.data.copy_(weight)
        conv.bias.data.copy_(bias)
