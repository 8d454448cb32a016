"""The history of measurements: one JSON object a line, so that a change that costs speed is seen."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

from hodor_cli.errors import OutputError


def append_record(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Append machine, commit and ratios of a measurement to a file and return the line as a dict.

    Raises OutputError if the file cannot be written.
    """
    line = summary_of(result)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); name another file with --record") from error
    return line


def earlier_record(path: Path, line: dict[str, Any]) -> dict[str, Any] | None:
    """The newest record before the last of a file that measured the same as `line` on such a machine; None without one.

    Lines that are no records are passed over.
    """
    found = None
    wanted = _compared(json.loads(json.dumps(line)))
    try:
        texts = path.read_text(encoding="utf-8").splitlines()[:-1]
    except OSError:
        return None
    for text in texts:
        try:
            record = json.loads(text)
            if _compared(record) == wanted:
                found = record
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _compared(record: dict[str, Any]) -> tuple[Any, ...]:
    """What must be equal for two ratios to be comparable."""
    settings = {name: value for name, value in record["settings"].items() if name not in ("frames", "rounds")}
    machine = record["machine"]
    return record["kind"], settings, machine["device"], machine["threads"]


def summary_of(result: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a measurement: date, commit, settings, machine, and the ratios that later ones compare with."""
    from hodor_cli import __version__

    settings, machine = result["settings"], result["machine"]
    kept = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": __version__,
        "commit": commit_of(Path(__file__).parent),
        "kind": "training" if "samples_per_second" in result["engine"] else "video",
        "settings": {name: value for name, value in settings.items() if value is not None},
        "machine": machine,
        "speedup": result["speedup"],
        "plain": result["plain"],
        "engine": result["engine"],
    }
    return kept | {name: result[name] for name in ("end_to_end", "stages", "label_pixels", "loader") if name in result}


def commit_of(folder: Path) -> str | None:
    """The commit of the source tree around a folder, with "+" when files differ from it; None outside of one."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None
