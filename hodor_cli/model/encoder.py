"""The encoder: from a frame's features and masks to a descriptor per object and background cell (HODOR, sec. 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.config import NUM_BACKGROUND, ModelConfig
from hodor_cli.model.place import Place
from hodor_cli.model.position import PositionCodes
from hodor_cli.model.types import Descriptors


class SoftMaskedAttention(nn.Module):
    """Cross-attention from tokens to pixels, biased towards each token's soft mask; each head learns how strongly.

    Head h computes softmax(q.k / sqrt(d) - a_h (1 - mask)); the mask stays soft and differentiable.
    """

    def __init__(self, *, channels: int, map_channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        strengths = torch.tensor([32.0, 16.0, 8.0, 4.0])
        self.scaling_factors = nn.Parameter(strengths[torch.arange(heads) * 4 // heads])
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(map_channels, channels)
        self.v_proj = nn.Linear(map_channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, pixels: Tensor, masks: Tensor) -> Tensor:
        """tokens (B, N, D), pixels (B, C, HW), masks (B, N, HW) in 0..1 -> (B, N, D)."""
        pixels = pixels.transpose(1, 2)  # (B, HW, C)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N or HW, D / heads)
            for x in (self.q_proj(tokens), self.k_proj(pixels), self.v_proj(pixels))
        )
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)  # (B, heads, N, HW)
        attention = self.masked_softmax(scores, masks[:, None], self.scaling_factors[:, None, None])
        return self.out_proj((attention.to(v.dtype) @ v).transpose(1, 2).flatten(2))

    def masked_softmax(self, scores: Tensor, masks: Tensor, strengths: Tensor) -> Tensor:
        """float32 attention weights of the pixels; scores, masks and strengths broadcast against each other."""
        scores = scores.float() - strengths * (1 - masks.float())
        return F.dropout(scores.softmax(dim=-1), self.dropout, self.training)


class EncoderLayer(nn.Module):
    """Self-attention over tokens, soft-masked attention to the pixels, FFN; each added, then normalised."""

    def __init__(self, *, channels: int, map_channels: int, heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout=dropout, batch_first=True)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn = SoftMaskedAttention(
            channels=channels, map_channels=map_channels, heads=heads, dropout=dropout
        )
        self.norm2 = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, ffn_channels)
        self.fc2 = nn.Linear(ffn_channels, channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, position: Tensor, pixels: Tensor, masks: Tensor) -> Tensor:
        """x and position (B, N, D), pixels (B, C, HW), masks (B, N, HW) -> (B, N, D)."""
        placed = x + position
        x = self.norm1(x + self._drop(self.self_attn(placed, placed, x, need_weights=False)[0]))
        x = self.norm2(x + self._drop(self.cross_attn(x, pixels, masks)))
        hidden = self._drop(F.relu(self.fc1(x)))
        return self.norm3(x + self._drop(self.fc2(hidden)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Encoder(nn.Module):
    """Tokens start as the masked mean of the map and are refined by layers of attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, map_channels = config.descriptor_channels, config.channels
        # The name `places` is that of the parameters in files of weights.
        self.places = PositionCodes(map_channels) if config.position_codes else None
        self.place = Place(channels) if config.places else None
        self.fg_query_embed = nn.Parameter(torch.randn(channels))
        self.bg_query_embed = nn.Parameter(torch.randn(NUM_BACKGROUND, channels))
        self.start_proj = nn.Identity() if channels == map_channels else nn.Linear(map_channels, channels)
        self.layers = nn.ModuleList(
            EncoderLayer(
                channels=channels,
                map_channels=map_channels,
                heads=channels // config.head_channels,
                ffn_channels=config.encoder_ffn_channels,
                dropout=config.dropout,
            )
            for _ in range(config.encoder_layers)
        )

    def forward(self, stride8: Tensor, object_masks: Tensor, background_masks: Tensor) -> Descriptors:
        """stride8 (B, C, h, w), object_masks (B, I, h, w) and background_masks (B, 9, h, w) in 0..1."""
        pixels = self.pixels(stride8)
        masks = torch.cat((background_masks.flatten(2), object_masks.flatten(2)), dim=1).to(pixels.dtype)
        x = self.start_proj(start_of_tokens(pixels, masks))
        position = torch.cat((self.bg_query_embed, self.fg_query_embed.expand(object_masks.shape[1], -1)))
        position = position.to(x.dtype).expand_as(x)
        for layer in self.layers:
            x = layer(x, position, pixels, masks)
        background, objects = x[:, :NUM_BACKGROUND], x[:, NUM_BACKGROUND:]
        if self.place is not None:
            objects = self.place.write(objects, object_masks)
        return Descriptors(objects=objects, background=background)

    def pixels(self, stride8: Tensor) -> Tensor:
        """What tokens attend to: the map (B, C, h, w), plus position codes if the model has them, as (B, C, hw)."""
        placed = stride8 if self.places is None else self.places(stride8)
        return placed.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)  # channels last in memory, as in the map


@torch.no_grad()
def start_of_tokens(pixels: Tensor, masks: Tensor) -> Tensor:
    """The mean of pixels (B, C, HW) inside each mask (B, 9 + I, HW): (B, 9 + I, C), without gradient.

    If a mask has no pixel above 0.5, an object takes the pixel where its mask is largest, a background cell zero.
    """
    inside = masks > 0.5
    empty_object = ~inside.any(dim=-1) & (torch.arange(masks.shape[1], device=masks.device) >= NUM_BACKGROUND)
    highest = F.one_hot(masks.argmax(dim=-1), masks.shape[-1]).bool()
    inside = (inside | (highest & empty_object[..., None])).float()
    # Divided before the sum: for a large object, the sum would overflow float16.
    share = inside / inside.sum(dim=-1, keepdim=True).clamp(min=1)
    return share.to(pixels.dtype) @ pixels.transpose(1, 2)
