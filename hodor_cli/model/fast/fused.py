"""Convolutions of oneDNN in one pass with the activation or sum behind them, and with weights laid out beforehand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hodor_cli.runtime.device import autocast_dtype, cpu_multiplies_bf16, without_autocast

#: For how many sizes of maps a layer keeps its weights: the three that a video may be seen in.
_SIZES = 3


def fused_dtype(x: Tensor) -> torch.dtype | None:
    """In which dtype the maps that come of a map may go through `fused_conv`; None if they may not.

    They may on a CPU, without a gradient and outside of compilation and export: in float32, and in bfloat16 where there
    are units for it. PyTorch has these operations for its compiler and does not promise to keep them.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    if not _has_fused_convolutions():
        return None
    dtype = autocast_dtype(x.device) or x.dtype
    return dtype if dtype == torch.float32 or (dtype == torch.bfloat16 and cpu_multiplies_bf16()) else None


@functools.cache
def _has_fused_convolutions() -> bool:
    names = "_convolution_pointwise", "_reorder_convolution_weight"
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def laid_out(weight: Tensor, conv: nn.Conv2d, size: Sequence[int]) -> Tensor:
    """A weight in the order in which `fused_conv` reads it for maps of its dtype and of about this size."""
    found: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *_sides(conv), conv.groups, size)
    return found


def fused_conv(
    x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, *, relu6: bool = False, added: Tensor | None = None
) -> Tensor:
    """The convolution of a map (B, C, H, W) with the stride and groups of `conv`, padded all around.

    Args:
        weight: as `laid_out` gives it, of the dtype of x.
        relu6: bring the result into 0..6.
        added: a map to add to the result.
    """
    run, sides = torch.ops.mkldnn._convolution_pointwise, _sides(conv)
    if added is None:
        activation: tuple[str, list[float]] = ("hardtanh", [0.0, 6.0]) if relu6 else ("none", [])
        found: Tensor = run(x, weight, bias, *sides, conv.groups, *activation, None)
    else:
        found = run.binary(x, added, weight, bias, *sides, conv.groups, "add", None, None, [], None)
    return found


class Deriving(nn.Module):
    """A layer that keeps what it derives from its parameters. State dicts, copies and pickles do not hold it."""

    def derived(
        self, parameters: Sequence[Tensor], make: Callable[[], Sequence[Tensor]], maps: tuple[torch.dtype, torch.Size]
    ) -> Sequence[Tensor]:
        """What `make` gives of these parameters for maps of a dtype and size, made anew when they may have changed.

        It is kept for the last `_SIZES` sizes, for in the layout of another size some convolutions take thirty times as
        long.
        """
        # `_version` counts the changes in place; a parameter that is moved or exchanged lies elsewhere. The old ones
        # are kept, so that nothing else gets their place in memory.
        counted = not any(parameter.is_inference() for parameter in parameters)
        state = [(one.data_ptr(), one._version) for one in parameters] if counted else None
        kept = self.__dict__.get("_derived")
        if kept is None or state is None or kept[0] != state:
            kept = self.__dict__["_derived"] = state, {}, [parameter.detach() for parameter in parameters]
        made: dict[tuple[torch.dtype, torch.Size], Sequence[Tensor]] = kept[1]
        found = made.pop(maps, None)
        if found is None:
            with without_autocast(parameters[0].device):
                found = make()
        made[maps] = found  # the newest is the last one
        while len(made) > _SIZES:
            made.pop(next(iter(made)), None)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_derived"}


def _sides(conv: nn.Conv2d) -> tuple[list[int], list[int], list[int]]:
    """Padding, stride and dilation."""
    return [conv.kernel_size[0] // 2] * 2, list(conv.stride), [1, 1]
