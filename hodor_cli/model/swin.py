"""Swin transformer (Liu et al., ICCV 2021), as the detection codebases use it: a LayerNorm on each stage's output."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.runtime.constants import cached_constant


class PatchEmbedding(nn.Module):
    """Non-overlapping 4x4 patches to vectors: (B, 3, H, W) -> (B, H/4, W/4, C)."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.proj(frames).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Halves a map, (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C), by stacking each 2x2 neighbourhood."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        # The order of the four neighbours, (row, column) = (0,0), (1,0), (0,1), (1,1), is that of the trained weights.
        x = torch.cat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]), dim=-1)
        return self.reduction(self.norm(x))


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows of `window` x `window` pixels, with a learned relative position bias."""

    def __init__(self, *, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """windows (B * N, window ** 2, C); mask (N, window ** 2, window ** 2) added to the scores, or None."""
        total, tokens, channels = windows.shape
        q, k, v = self.qkv(windows).reshape(total, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[relative_position_index(self.window, windows.device).flatten()]
        bias = bias.view(1, tokens, tokens, self.heads).permute(0, 3, 1, 2)  # (1, heads, tokens, tokens)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(total // len(mask), 1, 1, 1)  # (B * N, heads, tokens, tokens)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype).expand(total, -1, -1, -1))
        return self.proj(x.transpose(1, 2).reshape(total, tokens, channels))


class SwinBlock(nn.Module):
    """(Shifted) window attention and an MLP, each with a LayerNorm before it and a residual connection around it."""

    def __init__(self, *, channels: int, heads: int, window: int, shift: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels=channels, heads=heads, window=window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(channels, mlp_ratio * channels),
                "fc2": nn.Linear(mlp_ratio * channels, channels),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        x = x + self._stochastic_depth(self._attend(self.norm1(x)))
        mlp = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + self._stochastic_depth(mlp)

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        window, shift = self.window, self.shift
        # Padded positions take part in the attention, as they did when the published weights were trained.
        x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = x.shape[1] // window, x.shape[2] // window
        mask = None
        if shift:
            x = torch.roll(x, (-shift, -shift), dims=(1, 2))
            mask = shifted_window_mask(rows, columns, window, shift, x.device)
        x = x.view(batch, rows, window, columns, window, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, window * window, channels), mask)
        x = x.view(batch, rows, columns, window, window, channels).transpose(2, 3)
        x = x.reshape(batch, rows * window, columns * window, channels)
        if shift:
            x = torch.roll(x, (shift, shift), dims=(1, 2))
        return x[:, :height, :width]

    def _stochastic_depth(self, residual: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return residual
        keep = 1 - self.drop_path
        kept = torch.rand(len(residual), 1, 1, 1, device=residual.device) < keep
        return residual * kept.to(residual.dtype) / keep


class SwinStage(nn.Module):
    """Blocks at one resolution, every second one shifted, and the patch merging to the next resolution."""

    def __init__(
        self, *, channels: int, heads: int, window: int, mlp_ratio: int, drop_path: list[float], downsample: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels=channels,
                heads=heads,
                window=window,
                # Odd blocks shift even where the map fits into one window: the trained weights expect it.
                shift=window // 2 if i % 2 else 0,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
            )
            for i, rate in enumerate(drop_path)
        )
        self.downsample = PatchMerging(channels=channels) if downsample else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) -> the stage's own map, and the next stage's input (for the last stage, the same map)."""
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """(B, 3, H, W) normalised RGB -> maps (B, C, H/s, W/s) at strides s = 4, 8, 16, 32; C doubles at each."""

    def __init__(
        self,
        *,
        embed_channels: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        window: int,
        mlp_ratio: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.out_channels = tuple(embed_channels * 2**i for i in range(len(depths)))
        self.patch_embed = PatchEmbedding(channels=embed_channels)
        rates = [drop_path * i / max(sum(depths) - 1, 1) for i in range(sum(depths))]
        self.layers = nn.ModuleList(
            SwinStage(
                channels=self.out_channels[i],
                heads=heads[i],
                window=window,
                mlp_ratio=mlp_ratio,
                drop_path=rates[sum(depths[:i]) : sum(depths[: i + 1])],
                downsample=i < len(depths) - 1,
            )
            for i in range(len(depths))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.out_channels)

    def stages(self) -> list[list[nn.Module]]:
        """The layers of each stage: those up to the map at stride 4, then those from each map to the next."""
        stages: list[list[nn.Module]] = [[stage, norm] for stage, norm in zip(self.layers, self.norms, strict=True)]
        return [[self.patch_embed, *stages[0]], *stages[1:]]

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = self.patch_embed(frames)
        maps = []
        for stage, norm in zip(self.layers, self.norms, strict=True):
            own, x = stage(x)
            maps.append(norm(own).permute(0, 3, 1, 2))
        return maps


@cached_constant(maxsize=8)
def relative_position_index(window: int, device: torch.device) -> Tensor:
    """(window ** 2, window ** 2) int64: the row of the bias table for each pair of positions in a window."""
    axis = torch.arange(window, device=device)
    positions = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
    offsets = positions[:, :, None] - positions[:, None, :] + window - 1
    return offsets[0] * (2 * window - 1) + offsets[1]


@cached_constant(maxsize=32)
def shifted_window_mask(rows: int, columns: int, window: int, shift: int, device: torch.device) -> Tensor:
    """(rows * columns, window ** 2, window ** 2): -100 between pixels that are neighbours only by the shift, else 0."""

    def bands(count: int) -> Tensor:
        size = count * window
        position = torch.arange(size, device=device)
        return (position >= size - window).long() + (position >= size - shift).long()

    regions = 3 * bands(rows)[:, None] + bands(columns)[None]
    regions = regions.view(rows, window, columns, window).transpose(1, 2).reshape(rows * columns, -1)
    return (regions[:, :, None] != regions[:, None, :]).float() * -100.0
