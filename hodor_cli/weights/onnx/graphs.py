"""The network's functions as modules with fixed sizes and tensors in and out, each of which becomes one ONNX file.

They include the steps around the network, so that a loop needs no PyTorch: resizing, normalising and padding the frame,
reducing reference masks to stride 8, and turning logits into a label map. Objects have fixed slots; unused slots are
marked in `has_object` and change nothing.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.config import NUM_BACKGROUND, NUM_NON_OBJECT
from hodor_cli.model.background import predicted_masks, reference_masks, to_stride8
from hodor_cli.model.decoder import ABSENT
from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.encoder import EncoderLayer, start_of_tokens
from hodor_cli.model.fast import plain
from hodor_cli.model.fpn import FeaturePyramid
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import at_most_one, surroundings
from hodor_cli.model.mobilenet import Conv, InvertedResidual
from hodor_cli.model.types import Cue, History, KeyedMasks, Maps
from hodor_cli.runtime.preprocess import Geometry, normalise, pad, resize


def exportable(model: Hodor) -> Hodor:
    """A copy of a network, float32 on the CPU, with its convolutions in forms that other runtimes support."""
    model = plain(copy.deepcopy(model), DeformConv, InvertedResidual, FeaturePyramid).cpu().float().eval()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Conv) and child.stride == (2, 2):
                # Its padding becomes a separate operation; runtimes fuse the two.
                unpadded = nn.Conv2d(
                    child.in_channels, child.out_channels, child.kernel_size[0], 2, groups=child.groups
                )
                unpadded.load_state_dict(child.state_dict())
                setattr(parent, name, nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), unpadded))
    return model.requires_grad_(False)


class Graph(nn.Module):
    """A function of the network, for frames of one size."""

    def __init__(self, model: Hodor, geometry: Geometry, slots: int) -> None:
        super().__init__()
        self.model, self.geometry, self.slots = model, geometry, slots


class ExtractGraph(Graph):
    """frame (H, W, 3) uint8 RGB -> stride4, stride8 and, for models that match, keys."""

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        geometry, config = self.geometry, self.model.config
        image = frame.permute(2, 0, 1)[None].float()
        image = pad(normalise(resize(image, geometry.scaled), config.pixel_mean, config.pixel_std), geometry.padded)
        maps = self.model.extract(image)
        return (maps.stride4, maps.stride8) if maps.keys is None else (maps.stride4, maps.stride8, maps.keys)


class MasksGraph(Graph):
    """labels (H, W) uint8 of reference masks -> object_masks, background_masks (stride 8), has_object.

    The slot of object i is i - 1. An object without a pixel at stride 8 cannot be encoded: its slot stays unused.
    """

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        geometry, ids = self.geometry, torch.arange(1, self.slots + 1)
        masks = (labels.int()[None] == ids[:, None, None]).float()[None]  # (1, I, H, W)
        masks = pad((resize(masks, geometry.scaled) > 0.5).float(), geometry.padded)
        seen = to_stride8(masks).amax(dim=(2, 3)) > 0.5
        objects, background = reference_masks(masks * seen[:, :, None, None])
        return objects, background, seen


class EncodeGraph(Graph):
    """stride8, object_masks, background_masks, has_object [, last_objects] -> objects (1, I, D), background (1, 9, D).

    With `hold_lost_objects`, an object without any likely pixel keeps its descriptor from last_objects (1, I, D).
    """

    def forward(
        self,
        stride8: Tensor,
        object_masks: Tensor,
        background_masks: Tensor,
        has_object: Tensor,
        last_objects: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        encoder, pixels = self.model.encoder, self.model.encoder.pixels(stride8)
        masks = torch.cat((background_masks.flatten(2), object_masks.flatten(2)), dim=1)
        present = torch.cat((torch.ones(1, NUM_BACKGROUND, dtype=torch.bool), has_object), dim=1)
        x = encoder.start_proj(start_of_tokens(pixels, masks))
        position = torch.cat((encoder.bg_query_embed, encoder.fg_query_embed.expand(has_object.shape[1], -1)))[None]
        for one in encoder.layers:  # tokens of unused slots are not attended to
            layer = cast(EncoderLayer, one)
            x = layer.norm1(x + _self_attention(layer.self_attn, x + position, x, present))
            x = layer.norm2(x + layer.cross_attn(x, pixels, masks))
            x = layer.norm3(x + layer.fc2(F.relu(layer.fc1(x))))
        background, objects = x[:, :NUM_BACKGROUND], x[:, NUM_BACKGROUND:]
        if encoder.place is not None:
            objects = encoder.place.write(objects, object_masks)
        if self.model.config.hold_lost_objects:
            seen = object_masks.amax(dim=(2, 3))[..., None] > 0.5
            objects = torch.where(seen, objects, self.model.without_place(cast(Tensor, last_objects)))
        return objects, background


def _self_attention(layer: nn.MultiheadAttention, asked: Tensor, values: Tensor, present: Tensor) -> Tensor:
    """`MultiheadAttention` with queries and keys `asked`, written out for a batch of one (1, N, D)."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    projected = (F.linear(x, w, b) for x, w, b in zip((asked, asked, values), weights, biases, strict=True))
    q, k, v = (x[0].unflatten(-1, (layer.num_heads, -1)).transpose(0, 1) for x in projected)  # (heads, N, width)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    scores = torch.where(present[:, None], scores, ABSENT)
    return layer.out_proj((scores.softmax(dim=-1) @ v).transpose(0, 1).flatten(1)[None])


class DecodeGraph(Graph):
    """Maps, history [and cue] -> labels (H, W) uint8, object_masks and background_masks (stride 8), logits.

    Inputs, in this order: stride4, stride8; history_objects (1, T, I, D), history_background (1, T, 9, D),
    history_has_object (1, T, I) and history_has_background (1, T) bool; for models that match cue_previous,
    cue_reference, cue_near, cue_matched. logits (1, 10 + I, padded H / 4, padded W / 4).
    """

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        stride4, stride8, objects, background, has_object, has_background, *parts = inputs
        geometry, maps = self.geometry, Maps(stride4, stride8)
        history, cue = History(objects, background, has_object, has_background), Cue(*parts) if parts else None
        logits = self.model.decode(maps, history, cue).clamp(min=ABSENT)
        shown = resize(logits, geometry.padded).softmax(dim=1)
        height, width = geometry.scaled
        shown = resize(shown[:, :, :height, :width], geometry.original)[0]
        labels = (shown.argmax(dim=0) - (NUM_NON_OBJECT - 1)).clamp(min=0).to(torch.uint8)
        objects, background = predicted_masks(F.avg_pool2d(logits.softmax(dim=1)[:, NUM_NON_OBJECT:], 2))
        return labels, objects, background, logits


class MatchGraph(Graph):
    """keys of a frame, keys and masks of the previous, the reference and a recent frame -> the cue's four parts.

    The recent frame starts as the reference frame. It is replaced by the latest frame every `RECENT` frames, and
    whenever an object is twice as large as in it.
    """

    def forward(self, keys: Tensor, *other_frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        previous, reference, recent = (KeyedMasks(*other_frames[i : i + 2]) for i in (0, 2, 4))
        cue = self.model.match(Maps(keys, keys, keys), previous, reference, recent, fine=True)
        assert cue is not None and cue.matched is not None and self.model.matcher is not None, (
            "models without a matcher have no such graph"
        )
        near = surroundings(previous.masks, self.model.matcher.spread)
        return cue.previous, at_most_one(cue.reference), near, cue.matched
