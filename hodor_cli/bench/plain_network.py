"""The network written layer by layer as the paper describes it, on a given model's own parameters.

This is what speed is measured against, and the readable reference for what the network computes: keys and values for
every pixel, attention as two matrix products and a softmax, deformable convolution by sampling, every pyramid level,
nothing cached, float32. It takes the place of a `Hodor` for whoever calls `extract`, `encode`, `decode` and `match`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.bench.plain_backbone import backbone_maps
from hodor_cli.config import NUM_BACKGROUND
from hodor_cli.model.decoder import Decoder, DecoderLayer, History
from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.encoder import Descriptors, Encoder, EncoderLayer, SoftMaskedAttention
from hodor_cli.model.fpn import FeaturePyramid, Maps
from hodor_cli.model.hodor import Hodor
from hodor_cli.model.matching import FARTHEST, Cue, KeyedMasks, Matcher
from hodor_cli.model.position import sinusoidal_position


class PlainHodor(nn.Module):
    """A model's parameters in the plain network; its own are only the pyramid's coarse outputs, which nothing reads."""

    def __init__(self, model: Hodor) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        channels, groups = model.config.channels, model.config.norm_groups
        with torch.random.fork_rng(devices=[]):
            self.coarse_outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.coarse_norms = nn.ModuleList(nn.GroupNorm(groups, channels) for _ in range(2))
        self.matcher = None if model.matcher is None else PlainMatcher(model.matcher)
        self.train(model.training).to(next(model.parameters()).device)

    def extract(self, frames: Tensor, fine_from: int = 0) -> Maps:
        """As `Hodor.extract`."""
        levels = backbone_maps(self.model.backbone, frames)
        outputs = _pyramid(self.model.fpn, levels)
        for conv, norm, x in zip(self.coarse_outputs, self.coarse_norms, outputs[2:], strict=True):
            norm(conv(x))
        fpn = self.model.fpn
        stride4, stride8 = (
            norm(_conv(conv, x)) for norm, conv, x in zip(fpn.norms, fpn.outputs, outputs[:2], strict=True)
        )
        keys = None if self.matcher is None else self.matcher.keys(levels[1], levels[2])
        return Maps(stride4[fine_from:], stride8, keys)

    def encode(self, maps: Maps, object_masks: Tensor, background_masks: Tensor) -> Descriptors:
        """As `Hodor.encode`."""
        return _encode(self.model.encoder, maps.stride8, object_masks, background_masks)

    def decode(self, maps: Maps, history: History, cue: Cue | None = None) -> Tensor:
        """As `Hodor.decode`."""
        return _decode(self.model.decoder, self.model.encoder, maps, history, cue)

    def match(self, maps: Maps, previous: KeyedMasks, reference: KeyedMasks) -> Cue | None:
        """As `Hodor.match`."""
        if self.matcher is None or maps.keys is None:
            return None
        return Cue(
            previous=self.matcher(maps.keys, previous, local=True),
            reference=self.matcher(maps.keys, reference, local=False),
        )


class PlainMatcher(Matcher):
    """The correspondence cue (not in the paper), one matrix product after the other."""

    def __init__(self, matcher: Matcher) -> None:
        nn.Module.__init__(self)
        self.sigma, self.reach, self.spread = matcher.sigma, matcher.reach, matcher.spread
        self.key_proj, self.log_scale = matcher.key_proj, matcher.log_scale

    def forward(self, keys: Tensor, source: KeyedMasks, *, local: bool) -> Tensor:
        """As `Matcher`: masks of `source` carried to the frame with these keys."""
        height, width = keys.shape[-2:]
        asking = keys if local else F.normalize(F.avg_pool2d(keys, 2, ceil_mode=True), dim=1)
        scores = self.log_scale.exp() * asking.flatten(2).transpose(1, 2) @ source.keys.flatten(2)
        if local:
            y, x = (self._nearness(size, keys.device) for size in (height, width))
            scores = scores + (y[:, None, :, None] + x[None, :, None, :]).flatten(2).flatten(0, 1).clamp(min=FARTHEST)
        carried = scores.softmax(dim=-1) @ source.masks.flatten(2).transpose(1, 2)
        carried = carried.transpose(1, 2).unflatten(-1, asking.shape[-2:])
        if local:
            return carried
        return F.interpolate(carried, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]

    def _nearness(self, size: int, device: torch.device) -> Tensor:
        """(size, size): the logarithm of a Gaussian of the distance along one side."""
        place = torch.arange(size, device=device).float()
        apart = place[:, None] - place
        return (-apart.square() / (2 * self.sigma**2)).masked_fill(apart.abs() > self.reach, FARTHEST)


def _pyramid(fpn: FeaturePyramid, maps: list[Tensor]) -> list[Tensor]:
    levels = [lateral(x) for lateral, x in zip(fpn.laterals, maps, strict=True)]
    for i in (2, 1, 0):
        levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[-2:], mode="nearest")
    return levels


def _conv(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's convolution done directly, whatever the layer itself would do."""
    return nn.Conv2d.forward(cast(nn.Conv2d, layer), x)


def _heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads), contiguous slices of channels."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


# Encoder (HODOR, sec. 3.2)


def _encode(encoder: Encoder, stride8: Tensor, objects: Tensor, background: Tensor) -> Descriptors:
    pixels = encoder.pixels(stride8).transpose(1, 2)  # (B, HW, C)
    masks = torch.cat((background, objects), dim=1).flatten(2)  # (B, 9 + I, HW)
    x = encoder.start_proj(_start(pixels.detach(), masks.detach()))
    count = objects.shape[1]
    position = torch.cat((encoder.bg_query_embed, encoder.fg_query_embed.expand(count, -1))).expand_as(x)
    for layer in encoder.layers:
        x = _encoder_layer(cast(EncoderLayer, layer), x, position, pixels, masks)
    return Descriptors(objects=x[:, NUM_BACKGROUND:], background=x[:, :NUM_BACKGROUND])


def _start(pixels: Tensor, masks: Tensor) -> Tensor:
    """Mean of the pixels inside each mask; an object without any takes its likeliest pixel, a background cell zero."""
    starts = torch.zeros(*masks.shape[:2], pixels.shape[-1], device=pixels.device)
    for b, sample in enumerate(masks):
        for n, mask in enumerate(sample):
            inside = mask > 0.5
            if inside.any():
                starts[b, n] = pixels[b, inside].mean(dim=0)
            elif n >= NUM_BACKGROUND:
                starts[b, n] = pixels[b, mask.argmax()]
    return starts


def _encoder_layer(layer: EncoderLayer, x: Tensor, position: Tensor, pixels: Tensor, masks: Tensor) -> Tensor:
    asked = x + position
    attended = layer.self_attn(asked, asked, x, need_weights=True)[0]
    x = layer.norm1(x + layer._drop(attended))
    x = layer.norm2(x + layer._drop(_soft_masked_attention(layer.cross_attn, x, pixels, masks)))
    hidden = layer._drop(F.relu(layer.fc1(x)))
    return layer.norm3(x + layer._drop(layer.fc2(hidden)))


def _soft_masked_attention(layer: SoftMaskedAttention, tokens: Tensor, pixels: Tensor, masks: Tensor) -> Tensor:
    """softmax(q.k / sqrt(d) - a_h (1 - mask)) with a key and a value for every pixel."""
    q = _heads(layer.q_proj(tokens), layer.heads)
    k = _heads(layer.k_proj(pixels), layer.heads)
    v = _heads(layer.v_proj(pixels), layer.heads)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, N, HW)
    scores = scores - layer.scaling_factors[:, None, None] * (1 - masks[:, None])
    attention = F.dropout(scores.softmax(dim=-1), layer.dropout, layer.training)
    return layer.out_proj((attention @ v).transpose(1, 2).flatten(2))


# Decoder (HODOR, sec. 3.3)


def _decode(decoder: Decoder, encoder: Encoder, maps: Maps, history: History, cue: Cue | None) -> Tensor:
    _, channels, height, width = maps.stride8.shape
    x = maps.stride8
    if decoder.cue is not None and cue is not None:
        x = x + decoder.cue(cue, history).permute(0, 3, 1, 2)
    position = sinusoidal_position(height, width, channels, x.device)
    for layer in decoder.layers:
        x = _decoder_layer(cast(DecoderLayer, layer), encoder, x, position, history)

    fine = decoder.stride4_reduce_norm(F.relu(decoder.stride4_reduce(maps.stride4)))
    last = x
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    if decoder.upsample_reduce is not None:
        x = torch.cat((decoder.upsample_reduce(x), fine), dim=1)
    else:
        x = torch.cat((x[:, : fine.shape[1]] + fine, x[:, fine.shape[1] :]), dim=1)
    x = decoder.stride4_norm(F.relu(_conv(decoder.stride4_conv, x)))

    catch_all = decoder.catch_all_norm(_conv(decoder.catch_all_conv, x))
    catch_all = decoder.catch_all_out(F.relu(catch_all))
    if decoder.places is not None:
        x = decoder.places(x)
    background = _dots(x, decoder.bg_query_proj(history.background), history.has_background[..., None])
    objects = _dots(x, decoder.instance_query_proj(history.objects), history.has_object)
    logits = torch.cat((catch_all, background, objects), dim=1)
    if decoder.cue is not None and cue is not None:
        logits = decoder.cue.add_to_logits(logits, cue, last)
    return logits


def _decoder_layer(layer: DecoderLayer, encoder: Encoder, x: Tensor, position: Tensor, history: History) -> Tensor:
    batch, channels, height, width = x.shape
    x = x + layer.deform_norm(F.relu(_deform_conv(layer.deform, x)))
    pixels = x.flatten(2).transpose(1, 2)  # (B, HW, C)

    objects, background = history.objects.flatten(1, 2), history.background.flatten(1, 2)
    frames, cells = history.background.shape[1:3]
    keys = torch.cat(
        (
            layer.k_proj_fg(objects + encoder.fg_query_embed),
            layer.k_proj_bg(background + encoder.bg_query_embed.repeat(frames, 1)),
        ),
        dim=1,
    )
    values = torch.cat((layer.v_proj_fg(objects), layer.v_proj_bg(background)), dim=1)
    present = torch.cat((history.has_object.flatten(1), history.has_background.repeat_interleave(cells, dim=1)), dim=1)
    q, k, v = (_heads(t, layer.heads) for t in (layer.q_proj(pixels + position), keys, values))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, HW, T * (I + 9))
    scores = F.dropout(scores, layer.dropout, layer.training).masked_fill(~present[:, None, None], -math.inf)
    attended = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)

    pixels = layer.norm1(pixels + F.dropout(attended, layer.dropout, layer.training))
    hidden = F.dropout(F.relu(layer.fc1(pixels)), layer.dropout, layer.training)
    pixels = layer.norm2(pixels + F.dropout(layer.fc2(hidden), layer.dropout, layer.training))
    return pixels.transpose(1, 2).reshape(batch, channels, height, width)


def _deform_conv(layer: DeformConv, x: Tensor) -> Tensor:
    """Sample the map nine times, each time moved by a kernel point and its offset, then mix all channels."""
    batch, channels, height, width = x.shape
    offsets = layer.offsets(x).view(batch, 9, 2, height, width)
    if layer.reduce is not None:
        x = layer.reduce(x)
        channels = x.shape[1]
    rows = torch.arange(height, device=x.device, dtype=x.dtype).view(-1, 1)
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    samples = []
    for point in range(9):
        y = rows + (point // 3 - 1) + offsets[:, point, 0]
        column = columns + (point % 3 - 1) + offsets[:, point, 1]
        grid = torch.stack(((2 * column + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
        samples.append(F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    sampled = torch.stack(samples, dim=2).view(batch, channels * 9, height * width)
    y = layer.weight.reshape(-1, channels * 9) @ sampled + layer.bias[:, None]
    return y.view(batch, -1, height, width)


def _dots(pixels: Tensor, queries: Tensor, present: Tensor) -> Tensor:
    """Dot products of every pixel with queries (B, T, N, C), the largest over those T that are present."""
    scores = torch.einsum("btnc,bchw->btnhw", queries, pixels) / math.sqrt(pixels.shape[1])
    return scores.masked_fill(~present[..., None, None], -math.inf).amax(dim=1)
