"""How the work of an iteration is distributed: this process alone, or (`fabric.py`) one of several."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from hodor_cli.errors import UsageError
from hodor_cli.runtime.device import autocast, choose_device, choose_precision
from hodor_cli.training.config import TrainConfig


class Process:
    """What the loop asks of the process it runs in: number `rank` of `world`, the first one writing the files.

    This one is alone, on one device, without any launcher. dtype: the precision of training.
    """

    rank, world, is_first = 0, 1, True

    def __init__(self, device: str | torch.device = "cpu", precision: str = "fp32") -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)

    def setup(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Place the module on the device and wrap it for the precision and the other processes."""
        module.to(self.device)
        return self._cast(module), optimiser

    def accumulate(self, module: nn.Module, *, enabled: bool) -> AbstractContextManager[Any]:
        """Inside it, gradients stay in this process if enabled."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Gradients, over all processes unless they accumulate."""
        loss.backward()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        return values

    def barrier(self) -> None:
        """Wait for the others."""

    def gather(self, values: Any) -> list[Any]:
        """What each process has, in order of their ranks."""
        return [values]

    def _cast(self, module: nn.Module) -> nn.Module:
        return module if self.dtype == torch.float32 else _Autocast(module, self.device, self.dtype)


class _Autocast(nn.Module):
    """Autocast inside the module, so that one process and several compute the same."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self._device, self._dtype = module, device, dtype

    def forward(self, *inputs: Any) -> Any:
        with autocast(self._device, self._dtype):
            return self.module(*inputs)


def micro_batch(config: TrainConfig, world: int) -> int:
    """Samples that go through the network of one of `world` processes at once. Raises UsageError for uneven shares."""
    if config.batch_size % world:
        raise UsageError(f"`batch_size={config.batch_size}` cannot be shared evenly by {world} processes")
    share = config.batch_size // world
    micro = min(config.micro_batch or share, share)
    if share % micro:
        raise UsageError(
            f"`micro_batch={micro}` does not divide the {share} samples that each of {world} processes has of"
            f" `batch_size={config.batch_size}`"
        )
    return micro
