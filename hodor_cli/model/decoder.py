"""The decoder: from descriptors and another frame's features to that frame's masks (HODOR, sec. 3.3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.config import ModelConfig
from hodor_cli.model.deform_conv import DeformConv
from hodor_cli.model.matching import CueInjection
from hodor_cli.model.place import Place
from hodor_cli.model.position import PositionCodes, sinusoidal_position
from hodor_cli.model.region import Norms, Region
from hodor_cli.model.types import Cue, History, Maps

#: Logit of a descriptor that no frame of the history has: finite, because interpolation may multiply it by zero.
ABSENT = -1e4


class DecoderLayer(nn.Module):
    """Deformable convolution, attention from the pixels to the descriptors, FFN."""

    def __init__(
        self,
        *,
        channels: int,
        descriptor_channels: int,
        heads: int,
        ffn_channels: int,
        norm_groups: int,
        dropout: float,
        deform_channels: int | None,
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.deform = DeformConv(channels=channels, sampled=deform_channels)
        self.deform_norm = nn.GroupNorm(norm_groups, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj_fg = nn.Linear(descriptor_channels, channels)
        self.k_proj_bg = nn.Linear(descriptor_channels, channels)
        self.v_proj_fg = nn.Linear(descriptor_channels, channels)
        self.v_proj_bg = nn.Linear(descriptor_channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, ffn_channels)
        self.fc2 = nn.Linear(ffn_channels, channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        history: History,
        present: Tensor | None,
        embeddings: tuple[Tensor, Tensor],
        norms: Norms | None,
    ) -> Tensor:
        """x (B, h, w, C) and position (h * w, C); present (B, T * I + T * 9) bool: which descriptors are there, None if
        all are."""
        batch, height, width, channels = x.shape
        x_map = x.permute(0, 3, 1, 2)  # channels last in memory, which avoids a copy
        x_map = x_map + _normalised(self.deform_norm, F.relu(self.deform(x_map)), norms)
        x = x_map.permute(0, 2, 3, 1).reshape(batch, height * width, channels)

        objects, background = history.objects.flatten(1, 2), history.background.flatten(1, 2)
        fg_query_embed, bg_query_embed = embeddings
        frames = history.background.shape[1]
        keys = torch.cat(
            (
                self.k_proj_fg(objects + fg_query_embed),
                self.k_proj_bg(background + bg_query_embed.repeat(frames, 1)),
            ),
            dim=1,
        )
        values = torch.cat((self.v_proj_fg(objects), self.v_proj_bg(background)), dim=1)
        attended = self._attend(x + position, keys, values, present)
        x = self.norm1(x + F.dropout(attended, self.dropout, self.training))
        hidden = F.dropout(F.relu(self.fc1(x)), self.dropout, self.training)
        x = self.norm2(x + F.dropout(self.fc2(hidden), self.dropout, self.training))
        return x.view(batch, height, width, channels)

    def _attend(self, pixels: Tensor, keys: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
        """pixels (B, hw, C), keys and values (B, N, C) -> (B, hw, C); heads are slices of the channels."""
        k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (keys, values))
        # The projection is made as (B, C, hw), which the next product needs no copy of.
        weight, bias = self.q_proj.weight.expand(len(pixels), -1, -1), self.q_proj.bias[:, None]
        q = torch.baddbmm(bias, weight, pixels.transpose(1, 2)).unflatten(1, (self.heads, -1))
        # (B, heads, N, hw), because in half precision a softmax over the outer dimension is twice as fast.
        scores = (k / math.sqrt(k.shape[-1])) @ q
        # The network was trained with dropout on the logits, before the softmax.
        scores = F.dropout(scores, self.dropout, self.training)
        if present is not None:
            scores = scores.masked_fill(~present[:, None, :, None], -math.inf)
        return (scores.softmax(dim=-2).transpose(-1, -2) @ v).transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """Maps of one frame and a history of descriptors -> logits at stride 4."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, descriptor_channels = config.channels, config.descriptor_channels
        mask_channels, reduced_channels = config.mask_channels, config.stride4_reduced_channels
        self.mask_channels = mask_channels
        self.layers = nn.ModuleList(
            DecoderLayer(
                channels=channels,
                descriptor_channels=descriptor_channels,
                heads=channels // config.head_channels,
                ffn_channels=config.decoder_ffn_channels,
                norm_groups=config.norm_groups,
                dropout=config.dropout,
                deform_channels=config.deform_channels,
            )
            for _ in range(config.decoder_layers)
        )
        self.cue: CueInjection | None = None
        if config.matching is not None:
            self.cue = CueInjection(channels=channels, descriptor_channels=descriptor_channels, gate=config.cue_gate)
        self.upsample_reduce: nn.Conv2d | None = None
        stride4_inputs = channels
        if config.upsampled_channels is not None:
            self.upsample_reduce = nn.Conv2d(channels, config.upsampled_channels, 1, bias=False)
            stride4_inputs = config.upsampled_channels + reduced_channels
        # The name `places` is that of the parameters in files of weights.
        self.places = PositionCodes(mask_channels) if config.position_codes else None
        self.stride4_reduce = nn.Conv2d(config.stride4_channels, reduced_channels, 1, bias=False)
        self.stride4_reduce_norm = nn.GroupNorm(8, reduced_channels)
        self.stride4_conv = nn.Conv2d(stride4_inputs, mask_channels, 3, padding=1, bias=False)
        self.stride4_norm = nn.GroupNorm(8, mask_channels)
        self.instance_query_proj = nn.Linear(descriptor_channels, mask_channels)
        self.bg_query_proj = nn.Linear(descriptor_channels, mask_channels)
        self.catch_all_conv = nn.Conv2d(mask_channels, config.catch_all_channels, 3, padding=1, bias=False)
        self.catch_all_norm = nn.GroupNorm(8, config.catch_all_channels)
        self.catch_all_out = nn.Conv2d(config.catch_all_channels, 1, 1, bias=False)

    def forward(
        self,
        maps: Maps,
        history: History,
        embeddings: tuple[Tensor, Tensor],
        *,
        cue: Cue | None,
        place: Place | None,
        region: Region | None,
        norms: Norms | None,
    ) -> Tensor:
        """(B, 1 + 9 + I, H/4, W/4) float32 logits: the catch-all, the background cells, the objects.

        embeddings: the encoder's fg (D,) and bg (9, D) query embeddings; the decoder has none of its own. region: the
        part of the maps, at stride 8, to decode; the logits are then of this part.
        """
        channels, height, width = maps.stride8.shape[1:]
        if region is None:
            region = Region.all_of(height, width)
        stride8, stride4 = region.of(maps.stride8), region.doubled().of(maps.stride4)
        if cue is not None:
            parts = (None if part is None else region.of(part) for part in cue[2:])
            cue = Cue(region.of(cue.previous), region.of(cue.reference), *parts)
        present = None if history.complete else history.present
        x = stride8.permute(0, 2, 3, 1)
        if self.cue is not None and cue is not None:
            x = x + self.cue(cue, history).to(x.dtype)
        position = region.of_pixels(sinusoidal_position(height, width, channels, x.device, x.dtype))
        for layer in self.layers:
            x = layer(x, position, history, present, embeddings, norms)
        last = x.permute(0, 3, 1, 2)
        stride4 = self._to_stride4(last, stride4, norms)  # F4
        catch_all = self._catch_all(stride4, norms)
        placed = stride4 if self.places is None else self.places(stride4, region.doubled())
        background, objects = self._masks(placed, history)
        if place is not None:
            objects = objects + place.bias(history.newest_objects(), region.doubled(), beside_cue=cue is not None)
        logits = torch.cat((catch_all, background, objects), dim=1)
        if self.cue is not None and cue is not None:
            logits = self.cue.add_to_logits(logits, cue, last)
        return logits

    def _to_stride4(self, x: Tensor, stride4: Tensor, norms: Norms | None) -> Tensor:
        reduced = _normalised(self.stride4_reduce_norm, F.relu(self.stride4_reduce(stride4)), norms)
        if self.upsample_reduce is not None:
            x = self.upsample_reduce(x)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        if self.upsample_reduce is not None:
            x = torch.cat((x, reduced), dim=1)
        else:  # the first channels also carry the fine detail of the backbone's stride 4
            x = torch.cat((x[:, : reduced.shape[1]] + reduced, x[:, reduced.shape[1] :]), dim=1)
        return _normalised(self.stride4_norm, F.relu(self.stride4_conv(x)), norms)

    def _catch_all(self, stride4: Tensor, norms: Norms | None) -> Tensor:
        return self.catch_all_out(F.relu(_normalised(self.catch_all_norm, self.catch_all_conv(stride4), norms))).float()

    def _masks(self, stride4: Tensor, history: History) -> tuple[Tensor, Tensor]:
        """Dot products with the projected descriptors of the background and the objects, maximum over the history."""
        pixels = stride4.flatten(2)

        def logits(queries: Tensor, present: Tensor) -> Tensor:
            # Scaling the few queries is cheaper than scaling the many scores.
            scores = (queries.flatten(1, 2) / math.sqrt(self.mask_channels)) @ pixels
            scores = scores.view(*queries.shape[:3], -1)
            if not history.complete:
                scores = scores.masked_fill(~present[..., None], ABSENT)
            return scores.amax(dim=1).float().unflatten(-1, stride4.shape[-2:])

        background = logits(self.bg_query_proj(history.background), history.has_background[..., None])
        return background, logits(self.instance_query_proj(history.objects), history.has_object)


def _normalised(norm: nn.GroupNorm, x: Tensor, norms: Norms | None) -> Tensor:
    return norm(x) if norms is None else norms.apply(norm, x)
