"""`hodor info`: what a bug report should say about the machine and the installation."""

from __future__ import annotations

from typing import Any

from hodor_cli.cli.options import JsonOption
from hodor_cli.cli.terminal import counted, say, say_json

#: Distribution name of each package whose version matters.
PACKAGES = (
    "torch", "numpy", "av", "opencv-python-headless", "pillow", "pycocotools", "h5py", "safetensors",
    "lightning-fabric", "msgspec", "scikit-learn", "scikit-image", "matplotlib", "rich", "typer",
    "imgaug", "onnx", "onnxruntime", "ray", "faiss-cpu", "tensorboard",
)  # fmt: skip


def info(
    as_json: JsonOption = False,
) -> None:
    """Print versions, devices and weights, for a bug report."""
    facts = collect()
    if as_json:
        say_json(facts)
        return
    width = max(len(key) for section in facts.values() for key in section) + 2
    for number, (title, section) in enumerate(facts.items()):
        if number:
            say()
        say(title)
        for key, value in section.items():
            say(f"  {key:<{width}}{value}")


def collect() -> dict[str, dict[str, str]]:
    """The facts, as {section: {name: value}}; what cannot be found out says why instead of failing."""
    return {"versions": _versions(), "machine": _machine(), "devices": _devices(), "weights": _weights()}


def _versions() -> dict[str, str]:
    import platform
    import sys
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    import hodor_cli

    found = {
        "hodor": f"{hodor_cli.__version__} at {Path(hodor_cli.__file__).parent}",
        "python": f"{platform.python_version()} at {sys.executable}",
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _machine() -> dict[str, str]:
    import os
    import platform

    from hodor_cli.runtime.threads import processor_name, usable_cores

    return {
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": f"{usable_cores()} usable of {os.cpu_count()}",
        "memory": _memory(),
    }


def _memory() -> str:
    import os

    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (AttributeError, ValueError, OSError):
        return "unknown"


def _devices() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch": f"cannot be imported ({error})"}
    found = {"cpu": f"{counted(torch.get_num_threads(), 'thread')}, {_cpu_capability(torch)}"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card: Any = torch.cuda.get_device_properties(index)
            found[f"cuda:{index}"] = f"{card.name}, {card.total_memory / 2**30:.1f} GiB, CUDA {torch.version.cuda}"
    else:
        found["cuda"] = "none" if torch.version.cuda else "none (this torch is built without CUDA)"
    mps = getattr(torch.backends, "mps", None)
    found["mps"] = "available" if mps is not None and mps.is_available() else "none"
    return found


def _cpu_capability(torch: Any) -> str:
    try:
        return str(torch.backends.cpu.get_cpu_capability())
    except AttributeError:
        return "capability unknown"


def _weights() -> dict[str, str]:
    from hodor_cli.errors import HodorError

    try:
        from hodor_cli.weights.registry import available_weights

        found = {name: _describe(weights) for name, weights in available_weights().items()}
        return found or {"none": "no weights found"}
    except (ImportError, HodorError, OSError) as error:
        return {"unknown": f"cannot be listed ({error})"}


def _describe(weights: Any) -> str:
    """One line about a file of weights: where it is, how large, its SHA-256."""
    import hashlib
    from pathlib import Path

    path = getattr(weights, "path", None)
    if path is None:
        return str(weights)
    path = Path(path)
    if not path.is_file():
        return f"{path} (missing)"
    content = path.read_bytes()
    return f"{path}, {len(content) / 2**20:.1f} MiB, sha256 {hashlib.sha256(content).hexdigest()}"
