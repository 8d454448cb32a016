"""The click network: a backbone computes a frame's features once, a light head joins them with prompts.

    features(frames)     -> maps at strides 2, 4, 8, 16, 32 and keys: once per frame
    net(maps, prompts)   -> logits at stride 2: once per click

As in RITM (Sofiiuk, Petrov, Konushin, ICIP 2022), discs at the clicks and the previous mask are inputs. There are two
differences. Prompts enter at the head, so that another click costs little. And the head sees how similar each place is
to the clicked ones: the frame's keys are compared with a descriptor of the clicked places, similar to HODOR's of an
object. The head works at stride 4 and coarser; its result is then sharpened with the frame's map at stride 2, because
wheels, legs and borders are thinner than 4 pixels.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Annotated, NamedTuple

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hodor_cli.clicks.prompts import PROMPT_CHANNELS, Prompts, prompt_maps
from hodor_cli.config import MobileNetConfig, Name, Width
from hodor_cli.model.mobilenet import MobileNetV2

#: Descriptors that the keys are compared with: those of positive clicks, the first click, negative clicks, the inside
#: and the outside of the previous mask.
_DESCRIPTORS = 5


class ClickConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of a click network. widths: channels of the head at strides 4, 8, 16 and 32. fine: at stride 2."""

    name: Name = "clicks"
    backbone: MobileNetConfig = MobileNetConfig()
    widths: tuple[Width, Width, Width, Width] = (32, 64, 96, 128)
    fine: Width = 16
    #: Additional blocks of the head: this number at strides 4 and 32, and twice as many at 8 and 16.
    extra_blocks: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    #: The longer side, in pixels, to which a frame and a closer look at one object are resized.
    side: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 384
    close_side: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 320
    key_heads: Width = 8
    key_channels: Width = 16
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)


class FrameMaps(NamedTuple):
    """The head's input from B frames: a map (B, widths[i], H/s, W/s) for each stride s = 4, 8, 16, 32, one of stride 2
    (B, fine, H/2, W/2), and keys of unit length (B, heads, channels, H/8, W/8)."""

    levels: tuple[Tensor, Tensor, Tensor, Tensor]
    fine: Tensor
    keys: Tensor

    def repeat(self, count: int) -> FrameMaps:
        """Each frame's maps `count` times in a row, once for each object."""
        if count == 1:
            return self
        fine, eighth, sixteenth, coarse = (_repeated(level, count) for level in self.levels)
        finest, keys = _repeated(self.fine, count), self.keys.repeat_interleave(count, 0)
        return FrameMaps((fine, eighth, sixteenth, coarse), finest, keys)


_Norm = partial(nn.GroupNorm, 4)


class _Mix(nn.Module):
    """A residual block: depthwise 5x5, norm, and two 1x1 convolutions with twice the width between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = _Norm(channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.relu(self.widen(self.norm(self.depthwise(x)))))


class _Pyramid(nn.Module):
    """Backbone maps -> maps of the head's widths, each combined with the coarser ones."""

    def __init__(self, inputs: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(inputs, widths, strict=True))
        self.downward = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(_Norm(width) for width in widths)
        self.mixes = nn.ModuleList(_Mix(width) for width in widths[1:])

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        out: list[Tensor] = []
        above: Tensor | None = None
        for i in (3, 2, 1, 0):
            x = self.laterals[i](maps[i])
            if above is not None:
                x = x + _enlarge(self.downward[i](above), x)
            x = self.norms[i](x)
            above = self.mixes[i - 1](x) if i else x
            out.append(above)
        return out[3], out[2], out[1], out[0]


class _Head(nn.Module):
    """Prompts and a frame's maps -> logits: a small U-Net."""

    def __init__(self, widths: tuple[int, ...], fine: int, similarities: int, extra_blocks: int) -> None:
        super().__init__()
        w4, w8, w16, w32 = widths
        self.prompt4 = nn.Conv2d(PROMPT_CHANNELS, w4, 3, padding=1)
        self.prompt8 = nn.Conv2d(w4, w8, 3, stride=2, padding=1)
        self.similar8 = nn.Conv2d(similarities, w8, 1)
        self.down16, self.down32 = _down(w8, w16), _down(w16, w32)
        self.mix8 = _Mix(w8)
        self.mix16 = nn.Sequential(_Mix(w16), _Mix(w16))
        self.mix32 = nn.Sequential(_Mix(w32), _Mix(w32))
        self.whole = nn.Conv2d(w32, w32, 1)
        self.up16, self.up8, self.up4 = nn.Conv2d(w32, w16, 1), nn.Conv2d(w16, w8, 1), nn.Conv2d(w8, w4, 1)
        self.out16, self.out8 = _Mix(w16), _Mix(w8)
        self.norms = nn.ModuleList(_Norm(width) for width in widths)
        self.refine = nn.Conv2d(w4, w4, 3, padding=1)
        self.logits = nn.Conv2d(w4, 1, 3, padding=1)
        self.up2, self.out2 = nn.Conv2d(w4, fine, 1), _Mix(fine)
        self.sharpen = nn.Conv2d(fine, 1, 3, padding=1)
        self.extra_down8, self.extra_down16, self.extra32, self.extra16, self.extra8, self.extra4 = (
            _idle_mixes(width, extra_blocks) for width in (w8, w16, w32, w16, w8, w4)
        )

    def forward(self, maps: FrameMaps, prompts: Tensor, similarities: Tensor) -> Tensor:
        m4, m8, m16, m32 = maps.levels
        prompted = F.relu(self.prompt4(prompts))
        x8 = self.extra_down8(self.mix8(self.norms[1](m8 + self.prompt8(prompted) + self.similar8(similarities))))
        x16 = self.extra_down16(self.mix16(self.norms[2](m16 + self.down16(x8))))
        x32 = self.extra32(self.mix32(self.norms[3](m32 + self.down32(x16))))
        x32 = x32 + self.whole(x32.mean((2, 3), keepdim=True))
        x16 = self.extra16(self.out16(x16 + _enlarge(self.up16(x32), x16)))
        x8 = self.extra8(self.out8(x8 + _enlarge(self.up8(x16), x8)))
        x4 = F.relu(self.norms[0](m4 + prompted + _enlarge(self.up4(x8), m4)))
        x4 = self.extra4(F.relu(self.refine(x4)) + x4)
        x2 = self.out2(F.relu(maps.fine + _enlarge(self.up2(x4), maps.fine)))
        return _enlarge(self.logits(x4), x2) + self.sharpen(x2)


class ClickNet(nn.Module):
    """The click network of a configuration, with random weights."""

    def __init__(self, config: ClickConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.backbone = MobileNetV2(groups=backbone.groups, stem_channels=backbone.stem_channels, with_finest=True)
        finest, *channels = self.backbone.out_channels
        self.pyramid = _Pyramid(tuple(channels), config.widths)
        self.fine = nn.Sequential(nn.Conv2d(finest, config.fine, 1), _Norm(config.fine))
        self.keys = nn.Conv2d(config.widths[1], config.key_heads * config.key_channels, 1)
        self.head = _Head(config.widths, config.fine, _DESCRIPTORS * config.key_heads, config.extra_blocks)

    def features(self, frames: Tensor) -> FrameMaps:
        """Maps of normalised frames (B, 3, H, W) whose sides are multiples of 32."""
        finest, *maps = self.backbone(frames)
        levels = self.pyramid(maps)
        keys = self.keys(levels[1]).unflatten(1, (self.config.key_heads, self.config.key_channels))
        return FrameMaps(levels, self.fine(finest), F.normalize(keys.float(), dim=2))

    def forward(self, maps: FrameMaps, prompts: Prompts) -> Tensor:
        """Logits (N, 1, H/2, W/2), float32, of N objects; both inputs have N entries."""
        encoded = prompt_maps(prompts, (int(maps.levels[0].shape[-2]), int(maps.levels[0].shape[-1])))
        return self.head(maps, encoded.maps, _similarities(maps.keys, encoded.places)).float()


def with_extra_blocks(net: ClickNet, count: int) -> ClickNet:
    """The network or, if its head has fewer extra blocks, one with `count` of them that computes the same."""
    if net.config.extra_blocks >= count:
        return net
    grown = ClickNet(msgspec.structs.replace(net.config, extra_blocks=count))
    grown.load_state_dict(net.state_dict(), strict=False)
    return grown


def channels_last(net: ClickNet) -> ClickNet:
    """The network with its weights in channels-last layout, in which its convolutions are fastest on CPUs."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _repeated(maps: Tensor, count: int) -> Tensor:
    """Each map of (B, C, h, w) `count` times in a row, in channels-last layout."""
    return maps.movedim(1, -1).repeat_interleave(count, 0).movedim(-1, 1)


def _similarities(keys: Tensor, places: Tensor) -> Tensor:
    """Cosine of each key with the mean key under each weight map in `places` (N, D, H/4, W/4): (N, D * heads, h, w)."""
    n, *_, h, w = keys.shape
    weights = F.avg_pool2d(places, 2).flatten(2)  # (N, D, hw)
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-4)
    flat = keys.flatten(3)  # (N, heads, channels, hw)
    described = torch.einsum("ndp,nhcp->ndhc", weights, flat)
    described = described / described.norm(dim=3, keepdim=True).clamp(min=0.05)
    return torch.einsum("ndhc,nhcp->ndhp", described, flat).reshape(n, -1, h, w)


def _idle_mixes(channels: int, count: int) -> nn.Sequential:
    """Blocks that change nothing until they are trained."""
    blocks = [_Mix(channels) for _ in range(count)]
    for parameter in (parameter for block in blocks for parameter in block.narrow.parameters()):
        nn.init.zeros_(parameter)
    return nn.Sequential(*blocks)


def _down(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride=2, padding=1, groups=inputs), nn.Conv2d(inputs, outputs, 1)
    )


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
