"""Choosing the device and the arithmetic precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from hodor_cli.config import ModelConfig, SwinConfig
from hodor_cli.errors import DeviceError, UsageError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The torch device for "auto", "cpu", "cuda", "cuda:N" or "mps". Raises DeviceError if the machine lacks it."""
    if isinstance(device, torch.device):
        device = str(device)
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(f"there is no device '{device}'; choose auto, cpu, cuda or mps")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError("this machine has no CUDA device that torch can use; use --device cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("this machine has no MPS device that torch can use; use --device cpu or auto")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"'{device}' is no device; write cuda:N with a number") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"there is no {device}; this machine has {torch.cuda.device_count()} CUDA device(s)")
    return chosen


def choose_precision(precision: str, device: torch.device, config: ModelConfig | None = None) -> torch.dtype:
    """The dtype for "auto", "fp32", "bf16" or "fp16".

    Auto is bf16 on CUDA, and on a CPU with bf16 units for an architecture that spends its time in dense layers (Swin),
    which gains by them; fp32 elsewhere, and where no architecture is given (training).
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            dense = config is not None and isinstance(config.backbone, SwinConfig)
            fast = device.type == "cpu" and dense and cpu_multiplies_bf16()
        return torch.bfloat16 if fast else torch.float32
    if precision not in PRECISIONS:
        raise UsageError(f"there is no precision '{precision}'; choose auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16 products; without them bfloat16 is slower than float32."""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(has is not None and has() for has in asked)  # an older PyTorch cannot tell


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Automatic mixed precision in that dtype; nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
