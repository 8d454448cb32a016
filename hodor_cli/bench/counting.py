"""Operations and bytes of a computation, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Work:
    """`operations`: multiplications and additions of all matrix products, convolutions and attention.

    `bytes`: what every operation reads and writes, added up, as if none of it stayed in a cache.
    """

    operations: int
    bytes: int


def count_work(run: Callable[[], object], casting: Callable[[], AbstractContextManager[None]] = nullcontext) -> Work:
    """Call `run` once and count what PyTorch does in it, on any device.

    casting: the automatic mixed precision that `run` computes in. PyTorch hides it from whoever looks on, so layers
        that are taken apart to be counted need it again.
    """
    with _Counter(casting) as counter:
        run()
    return Work(counter.operations, counter.bytes)


class _Counter(TorchDispatchMode):
    """Adds up operations by PyTorch's own formulas, and the sizes of tensors that go in and out; views are free."""

    def __init__(self, casting: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__()
        self._casting = casting
        self.operations = 0
        self.bytes = 0
        self._formulas: dict[Any, Callable[..., int]] = dict(flop_registry)
        on_cpu = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
        if on_cpu is not None:  # not among those that PyTorch has a formula for
            self._formulas[on_cpu] = _attention_operations

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self._formulas.get(func._overloadpacket)
        if formula is None:
            with self, self._casting():  # inference mode hands over whole layers, such as `linear`: look inside
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.operations += int(formula(*args, **kwargs, out_val=result))
        before = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        after = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        places = {_place(t) for t in before}
        if func._schema.is_mutable or any(_place(t) not in places for t in after):
            self.bytes += sum(t.numel() * t.element_size() for t in (*before, *after))
        return result


def _attention_operations(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Two matrix products: queries with keys, weights with values."""
    batch, heads, asked, width = query.shape
    return 2 * batch * heads * asked * key.shape[-2] * (width + value.shape[-1])


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)
