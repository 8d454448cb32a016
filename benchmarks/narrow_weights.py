# ruff: noqa: T201
"""The weights of a network of `mini`'s first shape in the narrower one that also tells objects apart.

    python benchmarks/narrow_weights.py FIRST.safetensors DAVIS -o narrow.safetensors

A trained convolution of the decoder becomes a projection to 32 channels and a convolution of those: its best factors
of that rank, weighed by how the channels of its input vary on frames of DAVIS (with and without the correspondence
cue), so that the output, not the kernel, is kept. Codes of place and the gate of the cue start as those of a new
network. Training then continues with `hodor finetune --weights narrow.safetensors`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from self_decoding import frames_of
from torch import Tensor, nn

from hodor_cli.datasets.dataset import recognise
from hodor_cli.engine import Segmenter
from hodor_cli.model.hodor import Hodor
from hodor_cli.weights import load_model
from hodor_cli.weights.checkpoint import save_checkpoint


class Variation:
    """The second moments (C, C) of what enters a layer."""

    def __init__(self) -> None:
        self.total, self.pixels = torch.zeros(()), 0

    def add(self, x: Tensor) -> None:
        """x: (B, C, H, W)."""
        columns = x.detach().float().permute(1, 0, 2, 3).flatten(1)
        self.total = self.total + columns @ columns.T
        self.pixels += columns.shape[1]

    def mean(self) -> Tensor:
        return (self.total / self.pixels).double()


@contextmanager
def observed(model: Hodor) -> Iterator[dict[str, Variation]]:
    """What enters the deformable convolutions and the upsampling, by name, while frames are followed."""
    found: dict[str, Variation] = defaultdict(Variation)

    def watch(name: str) -> Any:
        return lambda module, inputs: found[name].add(inputs[0])

    layers: dict[str, nn.Module] = {f"layers.{i}": layer.deform for i, layer in enumerate(model.decoder.layers)}
    handles = [module.register_forward_pre_hook(watch(name)) for name, module in layers.items()]
    to_stride4 = model.decoder._to_stride4

    def spy(x: Tensor, stride4: Tensor) -> Tensor:
        found["upsampled"].add(x)
        return to_stride4(x, stride4)

    model.decoder._to_stride4 = spy  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del model.decoder._to_stride4
        for handle in handles:
            handle.remove()


def factors(weight: Tensor, variation: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A convolution (O, rank, 3, 3) and a projection (rank, C, 1, 1) whose product is nearest to weight (O, C, 3, 3)
    on inputs that vary so; the projected channels have a mean square of one."""
    outputs, channels = weight.shape[:2]
    flat = weight.permute(0, 2, 3, 1).reshape(-1, channels).double()
    values, vectors = torch.linalg.eigh(variation)
    values = values.clamp(min=float(values.max()) * 1e-6).sqrt()
    root, inverse = (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
    left, strengths, right = torch.linalg.svd(flat @ root, full_matrices=False)
    print(f"kept {float((strengths[:rank] ** 2).sum() / (strengths**2).sum()):.2%} of the output's energy")
    kernel, projection = left[:, :rank] * strengths[:rank], right[:rank] @ inverse
    size = torch.einsum("kc,cd,kd->k", projection, variation, projection).sqrt()
    projection, kernel = projection / size[:, None], kernel * size
    return (
        kernel.reshape(outputs, 3, 3, rank).permute(0, 3, 1, 2).float().contiguous(),
        projection.float()[:, :, None, None].contiguous(),
    )


def narrowed(model: Hodor, variations: dict[str, Tensor], rank: int) -> Hodor:
    """A network of the narrow shape that computes nearly what `model` does."""
    config = msgspec.structs.replace(
        model.config, position_codes=True, cue_gate=True, deform_channels=rank, upsampled_channels=rank
    )
    narrow, old = Hodor(config).eval(), model.state_dict()
    new = {
        name: old[name] if name in old and old[name].shape == x.shape else x for name, x in narrow.state_dict().items()
    }
    for name, variation in variations.items():
        at = "decoder.stride4_conv" if name == "upsampled" else f"decoder.{name}.deform"
        kernel, projection = factors(old[f"{at}.weight"], variation, rank)
        if name == "upsampled":
            fine = old[f"{at}.weight"][:, : config.stride4_reduced_channels]
            new[f"{at}.weight"], new["decoder.upsample_reduce.weight"] = torch.cat((kernel, fine), 1), projection
        else:
            new[f"{at}.weight"], new[f"{at}.reduce.weight"] = kernel, projection
    narrow.load_state_dict(new)
    return narrow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a network of the first shape")
    parser.add_argument("davis", type=Path, help="clips with masks, in the DAVIS layout")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--clips", type=int, default=6, help="how many of them are watched")
    options = parser.parse_args()
    model = load_model(options.weights)
    with observed(model) as found:
        for sequence in list(recognise(options.davis).sequences.values())[: options.clips]:
            frames = frames_of(sequence, 6)
            for matching in (True, False):
                segmenter = Segmenter(model, matching=matching)
                segmenter.step(*frames[0])
                for image, _ in frames[1:]:
                    segmenter.step(image)
    save_checkpoint(options.out, narrowed(model, {name: seen.mean() for name, seen in found.items()}, options.rank))


if __name__ == "__main__":
    main()
