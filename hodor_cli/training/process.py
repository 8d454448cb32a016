"""How the work of an iteration is distributed: this process alone, or one of several that Lightning Fabric launched."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from hodor_cli.runtime.device import autocast, choose_device, choose_precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingProcess(Protocol):
    """What the loop asks of the process it runs in: number `rank` of `world`, the first one writing the files.

    setup: place the module and wrap it. accumulate: inside it gradients stay in this process, if enabled. backward,
    mean: over all processes. barrier: wait for the others. gather: what each process has, in order of their ranks.
    dtype: the precision of training, for what runs outside the wrapped module.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def rank(self) -> int: ...

    @property
    def world(self) -> int: ...

    @property
    def is_first(self) -> bool: ...

    def setup(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]: ...

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]: ...

    def backward(self, loss: Tensor) -> None: ...

    def mean(self, values: Tensor) -> Tensor: ...

    def barrier(self) -> None: ...

    def gather(self, values: Any) -> list[Any]: ...


class _Autocast(nn.Module):
    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self._device, self._dtype = module, device, dtype

    def forward(self, *inputs: Any) -> Any:
        with autocast(self._device, self._dtype):
            return self.module(*inputs)


class SingleProcess:
    """This process, on one device, without any launcher."""

    rank, world, is_first = 0, 1, True

    def __init__(self, device: str = "cpu", precision: str = "fp32") -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)

    def setup(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        module.to(self.device)
        return (module if self.dtype == torch.float32 else _Autocast(module, self.device, self.dtype)), optimiser

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def mean(self, values: Tensor) -> Tensor:
        return values

    def barrier(self) -> None:
        return None

    def gather(self, values: Any) -> list[Any]:
        return [values]


class FabricProcess:
    """One of the processes of a Lightning Fabric launch: several GPUs, machines, or CPU processes."""

    def __init__(self, fabric: Fabric, precision: str = "fp32") -> None:
        self.fabric = fabric
        self.device = fabric.device
        self.dtype = choose_precision(precision, self.device)
        self.rank, self.world, self.is_first = fabric.global_rank, fabric.world_size, fabric.is_global_zero

    def setup(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        # Autocast as in a single process, inside the module, so that both compute the same.
        inner = module if self.dtype == torch.float32 else _Autocast(module, self.device, self.dtype)
        return self.fabric.setup_module(inner), optimiser

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
        return self.fabric.no_backward_sync(module, enabled=enabled)  # type: ignore[arg-type]

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        return self.fabric.all_reduce(values, reduce_op="mean")  # type: ignore[return-value]

    def barrier(self) -> None:
        self.fabric.barrier()

    def gather(self, values: Any) -> list[Any]:
        gathered: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(gathered, values)
        return gathered
