"""One measurement: its settings, the network that is measured, and the history in which it is recorded."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hodor_cli.engine.settings import SegmenterSettings
from hodor_cli.errors import UsageError
from hodor_cli.files import append_whole, writing_file
from hodor_cli.settings import about

if TYPE_CHECKING:
    from hodor_cli.model import Hodor


@dataclass(frozen=True)
class BenchSettings(SegmenterSettings):
    """One measurement. A preset without weights (`swin-tiny`, `toy`) runs with random ones.

    size: (width, height) of the clip.
    """

    weights: Annotated[str, about("Weights: a name (see `hodor weights list`), a file, or a preset.")] = "mini"
    size: tuple[int, int] = (854, 480)
    objects: Annotated[int, about("Objects in the clip.", least=1)] = 1
    frames: Annotated[int, about("Frames per round.", least=1)] = 5
    rounds: Annotated[int, about("Rounds; each runs the plain loop, then the engine.", least=1)] = 5
    threads: Annotated[int | None, about("CPU threads [default: PyTorch's].", least=1)] = None
    contend: Annotated[int, about("Measure once more while N other processes are busy.", least=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.size) < 32 or any(side % 2 for side in self.size):  # H.264 has no odd sides
            raise UsageError(f"`size` must be even and at least 32x32, not {self.size[0]}x{self.size[1]}")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of "854x480". Raises UsageError for anything else."""
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text.strip())
    if match is None:
        raise UsageError(f"`size` takes WIDTHxHEIGHT such as 854x480, not {text!r}")
    return int(match[1]), int(match[2])


def bench_model(weights: str) -> tuple[Hodor, bool]:
    """The network of a name or file, and whether its weights are trained.

    A preset without weights of that name gets random ones: speed does not depend on them. Raises as `load_model`.
    """
    from hodor_cli.model import build_model
    from hodor_cli.presets import PRESETS
    from hodor_cli.weights.registry import available_weights, load_model

    if weights in PRESETS and weights not in available_weights() and not Path(weights).is_file():
        return build_model(weights), False
    return load_model(weights), True


#: The parts of a result that a record keeps, if present.
_KEPT = ("machine", "speedup", "plain", "engine", "end_to_end", "stages", "label_pixels", "loader")


def describe_machine(device: Any) -> dict[str, Any]:
    """This machine: device, system, PyTorch, threads, cores, and load.

    load: the load average of the last minute per core; above about 0.2, something else was running.
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
    """Append a measurement's date, commit, settings, machine and results to a file; return the line as a dict.

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
    with writing_file(path, "name another file with `record`"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            cut = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")  # an editor may remove the last end
            append_whole(file, b"\n" * cut + f"{json.dumps(line)}\n".encode())
    return line


def earlier_record(path: Path, line: dict[str, Any]) -> dict[str, Any] | None:
    """The latest record before the last line that measured the same as `line` on the same kind of machine, or None.

    Lines that are not records are ignored.
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
