"""The history of measurements: one JSON object a line, so that a change that costs speed is seen."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from hodor_cli.errors import OutputError

#: What a record keeps of a result, where it has it.
_KEPT = ("machine", "speedup", "plain", "engine", "end_to_end", "stages", "label_pixels", "loader")


def describe_machine(device: Any) -> dict[str, Any]:
    """This machine: device, system, PyTorch, threads, cores, and the load.

    load: the load average of the last minute per core; above about 0.2 on an idle machine something else was running.
    """
    import torch

    from hodor_cli.runtime.device import device_name
    from hodor_cli.runtime.threads import usable_cores

    cores = usable_cores()
    return {
        "device": device_name(device),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": cores,
        "load": round(os.getloadavg()[0] / cores, 2) if hasattr(os, "getloadavg") else None,
    }


def append_record(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Append date, commit, settings, machine and ratios of a measurement to a file and return the line as a dict.

    Raises OutputError if the file cannot be written.
    """
    from hodor_cli import __version__

    # The commit of the source tree around the package, with "+" when files differ from it.
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    commit = ""
    with suppress(OSError, subprocess.SubprocessError):
        folder = Path(__file__).parent
        commit = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20, check=True).stdout
    line = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": __version__,
        "commit": commit.strip() or None,
        "kind": "training" if "samples_per_second" in result["engine"] else "video",
        "settings": {name: value for name, value in result["settings"].items() if value is not None},
        **{name: result[name] for name in _KEPT if name in result},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); name another file with `record`") from error
    return line


def earlier_record(path: Path, line: dict[str, Any]) -> dict[str, Any] | None:
    """The newest record, before the last, that measured the same as `line` on such a machine; None without one.

    Lines that are no records are ignored.
    """
    wanted = _compared(json.loads(json.dumps(line)))
    for text in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()[:-1]):
        try:
            record: dict[str, Any] = json.loads(text)
            if _compared(record) == wanted and record["speedup"] > 0:
                return record
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None


def _compared(record: dict[str, Any]) -> tuple[Any, ...]:
    """What must be equal for two ratios to be comparable."""
    ignored = ("frames", "rounds", "matching")  # records of version 0.1 do not have the last
    settings = {name: value for name, value in record["settings"].items() if name not in ignored}
    return record["kind"], settings, record["machine"]["device"], record["machine"]["threads"]
