"""oneDNN convolutions fused with the activation or sum after them, with weights laid out in advance."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hodor_cli.runtime.device import autocast_dtype, cpu_multiplies_bf16, without_autocast

#: For how many map sizes or numbers of threads a layer keeps laid-out weights: one for each resolution of a video.
_SIZES = 3


def fused_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype in which `fused_conv` can process a map and the maps computed from it; None if it cannot.

    It runs on CPUs, without gradients and outside of compilation and export, in float32, and in bfloat16 if the CPU has
    units for it. Its operations are internal to PyTorch's compiler and may disappear, so their presence is checked.
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
    """A weight in the memory layout that `fused_conv` reads fastest for maps of its dtype and of this size."""
    reordered: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *_geometry(conv), conv.groups, size)
    return reordered


def fused_conv(
    x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, *, relu6: bool = False, added: Tensor | None = None
) -> Tensor:
    """Convolve a map (B, C, H, W) with the stride and groups of `conv`, padded on all sides by half the kernel.

    Args:
        weight: from `laid_out`, of the dtype of x.
        relu6: clamp the result to 0..6.
        added: a map to add to the result.
    """
    run, geometry = torch.ops.mkldnn._convolution_pointwise, _geometry(conv)
    if added is None:
        activation: tuple[str, list[float]] = ("hardtanh", [0.0, 6.0]) if relu6 else ("none", [])
        y: Tensor = run.default(x, weight, bias, *geometry, conv.groups, *activation, None)
    else:
        y = run.binary(x, added, weight, bias, *geometry, conv.groups, "add", None, None, [], None)
    return y


class Deriving(nn.Module):
    """A layer that caches tensors derived from its parameters. State dicts, copies and pickles leave them out."""

    def derived(
        self, parameters: Sequence[Tensor], make: Callable[[], Sequence[Tensor]], maps: tuple[torch.dtype, torch.Size]
    ) -> Sequence[Tensor]:
        """The result of `make` for maps of this dtype and size, recomputed if the parameters may have changed.

        Results for the last `_SIZES` sizes are kept, because with the weights laid out for another size some
        convolutions take thirty times as long. Laid out for another number of threads, they take up to twice as long.
        """
        # `_version` counts changes in place; a parameter that is moved or replaced has another address. The old
        # parameters are kept alive, so that their addresses are not reused.
        try:
            state = [(parameter.data_ptr(), parameter._version) for parameter in parameters]
        except RuntimeError:  # in parameters made in inference mode nothing is counted
            state = None
        cache = self.__dict__.get("_derived")
        if cache is None or state is None or cache[0] != state:
            cache = self.__dict__["_derived"] = state, {}, [parameter.detach() for parameter in parameters]
        results: dict[tuple[Any, ...], Sequence[Tensor]] = cache[1]
        result = results.pop(key := (*maps, torch.get_num_threads()), None)
        if result is None:
            with without_autocast(parameters[0].device):
                result = make()
        results[key] = result  # last, as the most recently used
        while len(results) > _SIZES:
            results.pop(next(iter(results)), None)
        return result

    def train(self, mode: bool = True) -> Deriving:
        """Forget them when training starts or stops: fused optimisers do not count their changes in `_version`."""
        self.__dict__.pop("_derived", None)
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_derived"}


def _geometry(conv: nn.Conv2d) -> tuple[list[int], list[int], list[int]]:
    """Padding, stride and dilation."""
    return [conv.kernel_size[0] // 2] * 2, list(conv.stride), [1, 1]
