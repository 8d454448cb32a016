"""Choosing the device and the numerical precision."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from hodor_cli.errors import DeviceError, UsageError, closest
from hodor_cli.runtime.threads import processor_name

Network = TypeVar("Network", bound=nn.Module)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: The first NVIDIA generation (Ampere) that multiplies bfloat16; earlier ones emulate it, slower than float32.
_BF16_CAPABILITY = (8, 0)


def choose_device(device: str | torch.device) -> torch.device:
    """The torch device for "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises UsageError for another name, DeviceError if this machine has no such device.
    """
    device = str(device)
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        # Before PyTorch 2.10, MPS lacks `embedding_bag`. The comparison is of versions, not of texts.
        mps = torch.backends.mps.is_available() and torch.__version__ >= "2.10"
        return torch.device("mps" if mps else "cpu")
    kind = device.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in available:
        meant = closest("cuda" if kind == "gpu" else kind, available)
        raise UsageError(f"there is no `device` {device!r}; choose auto, cpu, cuda or mps{meant}")
    if not available[kind]:
        raise DeviceError(f"PyTorch finds no {kind.upper()} device on this machine; choose cpu or auto as `device`")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"{device!r} is not a valid `device`; write cuda:N with a number") from error
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if (chosen.index or 0) >= count:
        raise DeviceError(f"there is no `device` {device}; the last one of this machine is {kind}:{count - 1}")
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype for "auto", "fp32", "bf16" or "fp16".

    "auto" is bfloat16 if the GPU or CPU multiplies it in hardware, and float32 otherwise.
    Raises UsageError for another name, DeviceError for a dtype that PyTorch does not support on this device.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = cuda_multiplies_bf16(device)
        else:
            fast = device.type == "cpu" and cpu_multiplies_bf16()
        return torch.bfloat16 if fast else torch.float32
    if precision not in PRECISIONS:
        meant = closest(precision, PRECISIONS)
        raise UsageError(f"there is no `precision` {precision!r}; choose auto, {', '.join(PRECISIONS)}{meant}")
    dtype = PRECISIONS[precision]
    if dtype != torch.float32 and not torch.amp.is_autocast_available(device.type):
        raise DeviceError(f"this PyTorch supports only fp32 on {device.type}; choose fp32 or auto as `precision`")
    return dtype


def precision_name(dtype: torch.dtype) -> str:
    """ "fp32", "bf16" or "fp16"."""
    return next(name for name, value in PRECISIONS.items() if value == dtype)


def cuda_multiplies_bf16(device: torch.device) -> bool:
    """Whether a GPU multiplies bfloat16 in hardware. PyTorch's own check also accepts GPUs that only emulate it."""
    if torch.version.hip is not None:
        return torch.cuda.is_bf16_supported()
    return torch.cuda.get_device_capability(device) >= _BF16_CAPABILITY


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16 products; without them bfloat16 is slower than float32."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)  # older versions of PyTorch lack them


def autocast(device: torch.device, dtype: torch.dtype, *, cache: bool = True) -> AbstractContextManager[None]:
    """Automatic mixed precision with this dtype; for float32, none, even if the caller has switched it on.

    cache: keep converted weights until the end of the block. All threads share the cache, and the first to leave its
    block clears it.
    """
    if dtype == torch.float32:
        return without_autocast(device)
    return torch.autocast(device.type, dtype=dtype, cache_enabled=cache)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The current dtype of automatic mixed precision; None if it is off or not available."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Switch automatic mixed precision off. PyTorch 2.4 has none on MPS, where `torch.autocast` would raise."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """A block that may seed PyTorch; after it, the random state is the caller's again."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: str | torch.device) -> str:
    """The device's name for people, such as "cuda:0 NVIDIA H200" or "cpu Intel Xeon, 2 threads"."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu {processor_name()}, {threads} thread{'s' * (threads != 1)}"
    return f"{device} {processor_name()}"


@torch.inference_mode(False)  # parameters made in inference mode cannot be used outside it
def placed(model: Network, device: torch.device) -> Network:
    """The network in evaluation mode, in float32 on a device: a copy, unless it already is in that state."""
    wanted = (torch.empty(0, device=device).device, torch.float32)  # "cuda" is the same device as "cuda:0"
    if model.training or any((parameter.device, parameter.dtype) != wanted for parameter in model.parameters()):
        model = copy.deepcopy(model).eval().float()
    # Channels last in memory: convolutions on a CPU, and attention everywhere, read a pixel's channels together.
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
