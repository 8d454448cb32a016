"""The backbone as it is usually written: no fused attention, masks made anew for each block."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from hodor_cli.model.mobilenet import MobileNetV2
from hodor_cli.model.swin import Swin, SwinBlock, SwinStage, WindowAttention, relative_position_index


def backbone_maps(backbone: Swin | MobileNetV2, frames: Tensor) -> list[Tensor]:
    """Frames (B, 3, H, W) -> maps at strides 4, 8, 16, 32, with the backbone's own parameters."""
    # A chain of convolutions has only one way to be written.
    return _swin_maps(backbone, frames) if isinstance(backbone, Swin) else backbone(frames)


def _swin_maps(swin: Swin, frames: Tensor) -> list[Tensor]:
    x = swin.patch_embed(frames)  # (B, H/4, W/4, C)
    maps = []
    for stage, norm in zip(swin.layers, swin.norms, strict=True):
        stage = cast(SwinStage, stage)
        for block in cast("Iterable[SwinBlock]", stage.blocks):
            x = x + block._stochastic_depth(_windows(block, block.norm1(x)))
            mlp = block.mlp["fc2"](F.gelu(block.mlp["fc1"](block.norm2(x))))
            x = x + block._stochastic_depth(mlp)
        maps.append(norm(x).permute(0, 3, 1, 2).contiguous())
        if stage.downsample is not None:
            x = stage.downsample(x)
    return maps


def _windows(block: SwinBlock, x: Tensor) -> Tensor:
    """Cut a map (B, H, W, C) into (shifted) windows, attend inside each, put them together again."""
    batch, height, width, channels = x.shape
    window, shift = block.window, block.shift
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    padded_height, padded_width = x.shape[1:3]
    mask = None
    if shift:
        x = torch.roll(x, (-shift, -shift), dims=(1, 2))
        mask = _shift_mask(padded_height, padded_width, window, shift, x.device)
    rows, columns = padded_height // window, padded_width // window
    x = x.view(batch, rows, window, columns, window, channels).permute(0, 1, 3, 2, 4, 5).contiguous()
    x = _window_attention(block.attn, x.view(-1, window * window, channels), mask)
    x = x.view(batch, rows, columns, window, window, channels).permute(0, 1, 3, 2, 4, 5).contiguous()
    x = x.view(batch, padded_height, padded_width, channels)
    if shift:
        x = torch.roll(x, (shift, shift), dims=(1, 2))
    return x[:, :height, :width].contiguous()


def _window_attention(layer: WindowAttention, windows: Tensor, mask: Tensor | None) -> Tensor:
    """windows (B * N, T, C), mask (N, T, T) of 0 and -100, or None."""
    total, tokens, channels = windows.shape
    qkv = layer.qkv(windows).view(total, tokens, 3, layer.heads, channels // layer.heads).permute(2, 0, 3, 1, 4)
    q, k, v = qkv[0] / math.sqrt(channels // layer.heads), qkv[1], qkv[2]
    scores = q @ k.transpose(-2, -1)  # (B * N, heads, T, T)
    bias = layer.relative_position_bias_table[relative_position_index(layer.window, windows.device).flatten()]
    scores = scores + bias.view(tokens, tokens, layer.heads).permute(2, 0, 1)
    if mask is not None:
        scores = scores.view(-1, len(mask), layer.heads, tokens, tokens) + mask[:, None]
        scores = scores.view(total, layer.heads, tokens, tokens)
    x = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(total, tokens, channels)
    return layer.proj(x)


def _shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(N, T, T): -100 between pixels of a window that come from different sides of the shifted map."""
    regions = torch.zeros(height, width, device=device)
    bands = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for i, rows in enumerate(bands):
        for j, columns in enumerate(bands):
            regions[rows, columns] = 3 * i + j
    regions = regions.view(height // window, window, width // window, window).permute(0, 2, 1, 3)
    regions = regions.reshape(-1, window * window)
    return (regions[:, None, :] - regions[:, :, None]).ne(0).float() * -100.0
