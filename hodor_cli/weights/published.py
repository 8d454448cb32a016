"""Weights published by others: parameter names in the authors' checkpoints and in ImageNet backbones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hodor_cli.errors import WeightsError
from hodor_cli.model.hodor import Backbone
from hodor_cli.model.mobilenet import Conv, MobileNetV2
from hodor_cli.weights.tensor_files import as_float32, fault_of, is_pickle, read_pickle, read_safetensors

#: (pattern, replacement) pairs applied in order to a released parameter name.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^feature_extractor\.bb_fpn\.0\.norm(\d)\.", r"backbone.norms.\1."),
    (r"^feature_extractor\.bb_fpn\.0\.", r"backbone."),
    (r"^feature_extractor\.bb_fpn\.1\.lateral_convs\.(\d)\.conv\.", r"fpn.laterals.\1."),
    (r"^feature_extractor\.bb_fpn\.1\.fpn_convs\.(\d)\.conv\.", r"fpn.outputs.\1."),
    (r"^feature_extractor\.norm_layers\.", r"fpn.norms."),
    (r"^encoder\.attn_layers\.(\d+)\.ffn\.0\.", r"encoder.layers.\1.fc1."),
    (r"^encoder\.attn_layers\.(\d+)\.ffn\.3\.", r"encoder.layers.\1.fc2."),
    (r"^(encoder|decoder)\.attn_layers\.", r"\1.layers."),
    (r"\.self_attn_conv_substitute\.0\.conv_offsets\.", r".deform.offsets."),
    (r"\.self_attn_conv_substitute\.0\.conv_deform\.", r".deform."),
    (r"\.self_attn_conv_substitute\.2\.", r".deform_norm."),
    (r"^(decoder\.layers\.\d+)\.cross_attn\.q_proj\.", r"\1.q_proj."),
    (r"^decoder\.conv_4x_reduce\.0\.", r"decoder.stride4_reduce."),
    (r"^decoder\.conv_4x_reduce\.2\.", r"decoder.stride4_reduce_norm."),
    (r"^decoder\.conv_4x\.0\.", r"decoder.stride4_conv."),
    (r"^decoder\.conv_4x\.2\.", r"decoder.stride4_norm."),
    (r"^decoder\.catch_all_conv\.0\.", r"decoder.catch_all_conv."),
    (r"^decoder\.catch_all_conv\.1\.", r"decoder.catch_all_norm."),
    (r"^decoder\.catch_all_conv\.3\.", r"decoder.catch_all_out."),
)

#: In every released checkpoint but never used: coarse pyramid outputs, their norms, a projection, and the window
#: attention's index table, which the architecture defines.
_UNUSED = re.compile(
    r"^feature_extractor\.bb_fpn\.1\.fpn_convs\.[23]\.|^feature_extractor\.norm_layers\.[234]\."
    r"|^decoder\.fmap_proj_4x\.|\.relative_position_index$"
)


def own_name(name: str) -> str | None:
    """This package's name for a released parameter, or None if the network does not use it."""
    if _UNUSED.search(name):
        return None
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def from_authors(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released state dict (469 entries) under this package's names, without the unused entries."""
    return {own: value for name, value in state_dict.items() if (own := own_name(name)) is not None}


def load_imagenet_backbone(backbone: Backbone, path: str | Path) -> None:
    """Copy ImageNet weights into a backbone, in place. Classifiers are ignored.

    Swin: a `.pth` or safetensors file as the Swin authors and detection codebases publish it; the output norms keep
    their initial values. MobileNetV2: safetensors with `convNN.weight` and `convNN.bias`, NN in network order, batch
    norms folded in. Raises InputError if there is no such file, WeightsError if it is damaged, carries code, does not
    fit, or holds values that are not finite.
    """
    path = Path(path)
    tensors = read_pickle(path) if is_pickle(path) else read_safetensors(path)[1]
    mobile = isinstance(backbone, MobileNetV2)
    chosen: dict[str, Tensor] = {}
    parameters = dict(backbone.named_parameters())
    if mobile:
        layers = [name for name, module in backbone.named_modules() if isinstance(module, Conv)]
        names = {f"{n}.{part}": f"conv{i:02d}.{part}" for i, n in enumerate(layers) for part in ("weight", "bias")}
    else:
        names = {name: name for name in parameters if not name.startswith("norms.")}
    for own, published in names.items():
        value = tensors.get(published, tensors.get(f"backbone.{published}"))
        if value is None or fault_of(published, value, parameters[own]):
            raise WeightsError(
                f"{path} does not fit the backbone: {published.removesuffix('.weight')} should be"
                f" {tuple(parameters[own].shape)}; use ImageNet weights of"
                f" {'MobileNetV2 1.0' if mobile else 'Swin-T (patch 4, window 7)'}"
            )
        chosen[own] = value
    backbone.load_state_dict(as_float32(chosen, path), strict=False)
