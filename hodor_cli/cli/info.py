"""`hodor info`: what a bug report should say about the machine and the installation."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import hodor_cli
from hodor_cli.cli.terminal import say
from hodor_cli.errors import HodorError
from hodor_cli.images.paths import plural

#: Distribution name of each package whose version matters.
PACKAGES = (
    "torch", "numpy", "av", "opencv-python-headless", "pillow", "pycocotools", "h5py", "safetensors",
    "msgspec", "scikit-learn", "scikit-image", "matplotlib", "rich", "typer",
    "imgaug", "onnx", "onnxruntime", "ray", "tensorboard",
)  # fmt: skip


def info() -> None:
    """Print versions, devices and weights, for a bug report."""
    facts = {"versions": _versions(), "machine": _machine(), "devices": _devices(), "weights": _weights()}
    width = max(len(key) for section in facts.values() for key in section) + 2
    for number, (title, section) in enumerate(facts.items()):
        if number:
            say()
        say(title)
        for key, value in section.items():
            say(f"  {key:<{width}}{value}")


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {
        "hodor": f"{hodor_cli.__version__} at {Path(hodor_cli.__file__).parent}",
        "python": f"{platform.python_version()} at {sys.executable}",
    }
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _machine() -> dict[str, str]:
    import psutil

    from hodor_cli.runtime.threads import processor_name, usable_cores

    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": f"{usable_cores()} usable of {os.cpu_count()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
    }


def _devices() -> dict[str, str]:
    try:
        import torch

        from hodor_cli.runtime.device import cpu_multiplies_bf16
    except (ImportError, OSError) as error:
        return {"torch": f"cannot be imported ({error})"}
    threads = plural(torch.get_num_threads(), "thread")
    units = ", multiplies bfloat16" if cpu_multiplies_bf16() else ""
    devices = {"cpu": f"{threads}, {torch.backends.cpu.get_cpu_capability()}{units}"}
    for index in range(torch.cuda.device_count()):
        card: Any = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    if not torch.cuda.is_available():
        devices["cuda"] = "none" if torch.version.cuda else "none (this torch is built without CUDA)"
    return devices | {"mps": "available" if torch.backends.mps.is_available() else "none"}


def _weights() -> dict[str, str]:
    weights = {}
    try:
        from hodor_cli.weights.registry import available_weights
        from hodor_cli.weights.tensor_files import file_sha256

        for name, info in available_weights().items():
            path = info.path
            size = f"{path.stat().st_size / 2**20:.1f} MiB" if path.is_file() else ""
            weights[name] = f"{path}, {size}, sha256 {file_sha256(path)}" if size else f"{path} (missing)"
    except (ImportError, HodorError, OSError) as error:
        weights["unknown"] = f"cannot be listed ({error})"
    return weights or {"none": "no weights found"}
