"""Tensors that depend only on sizes, computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def cached_constant(maxsize: int) -> Callable[[Callable[P, Tensor]], Callable[P, Tensor]]:
    """Cache the last `maxsize` results of a function of sizes and a device.

    They are made outside inference mode, because a tensor made inside could not take part in training later. While the
    network is exported or compiled, tensors have no values, so the cache is bypassed.
    """

    def decorate(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
        kept: Callable[..., Tensor] = lru_cache(maxsize)(torch.inference_mode(False)(function))

        @wraps(function)
        def constant(*args: P.args, **kwargs: P.kwargs) -> Tensor:
            return function(*args, **kwargs) if torch.compiler.is_compiling() else kept(*args, **kwargs)

        return constant

    return decorate
