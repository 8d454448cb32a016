"""What a speed was measured on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any


def device_name(device: Any) -> str:
    """The device's name as a person knows it, such as "cuda:0 NVIDIA H200" or "cpu Intel Xeon, 2 threads"."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        return f"cpu {_processor()}, {torch.get_num_threads()} threads"
    return f"{device} {platform.processor() or platform.machine()}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
