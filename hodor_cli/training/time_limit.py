"""A limit on the time of a run, after which it stops as if interrupted between two iterations."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from hodor_cli.errors import UsageError
from hodor_cli.training.process import TrainingProcess

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


@dataclass(frozen=True)
class TimeLimit:
    """When a run is to stop: by this clock, in seconds since 1970, which the processes of all machines share."""

    until: float

    @staticmethod
    def after(seconds: float) -> TimeLimit:
        """A limit so many seconds from now."""
        return TimeLimit(time.time() + seconds)

    def reached(self, process: TrainingProcess) -> bool:
        """Whether the time is over for any process; all of them ask in the same iteration and get the same answer."""
        return any(process.gather(time.time() >= self.until))


def parse_duration(text: str) -> float:
    """Seconds from "9m", "90s", "1h30m" or "90". Raises UsageError for anything else."""
    match = _TEXT.fullmatch(text.strip().lower())
    parts = [0.0] if match is None else [float(part or 0) for part in match.groups()]
    seconds = sum(part * unit for part, unit in zip(reversed(parts), _UNITS.values(), strict=False))
    if seconds <= 0:
        raise UsageError(f"'{text}' is no time limit; write 9m, 90s or 1h30m")
    return seconds
