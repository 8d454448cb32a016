"""Starting a Swin backbone from ImageNet weights, as the Swin authors and the detection codebases publish them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hodor_cli.errors import InputError, WeightsError
from hodor_cli.model.swin import Swin


def load_imagenet_swin(backbone: Swin, path: str | Path) -> None:
    """Copy the patch embedding and the stages; the classifier is ignored and the outputs' norms keep their start.

    The file is a `.pth` (`{"model": state_dict}` or a state dict) or safetensors. Raises InputError if there is no such
    file, WeightsError if it is damaged, carries code, or is not this Swin.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no backbone file {path}; check the path")
    tensors = {name.removeprefix("backbone."): value for name, value in _read(path).items()}
    own = {name: value for name, value in backbone.state_dict().items() if not name.startswith("norms.")}
    for name, value in own.items():
        if name not in tensors or tensors[name].shape != value.shape:
            raise WeightsError(
                f"{path} does not fit the backbone: {name} should be {tuple(value.shape)};"
                " use ImageNet weights of Swin-T (patch 4, window 7)"
            )
    backbone.load_state_dict({name: tensors[name].float() for name in own}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        pickled = file.read(2) in (b"PK", b"\x80\x02")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error}); fetch or copy it again") from error
    except Exception as error:  # torch raises many kinds for damaged files and for files that carry code
        raise WeightsError(f"{path} is damaged or carries more than tensors; fetch or copy it again") from error
    for key in ("model", "state_dict"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} holds no state dict of a Swin; use ImageNet weights of Swin-T")
    return content
