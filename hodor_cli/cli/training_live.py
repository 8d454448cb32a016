"""The line that shows where a training run is."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from hodor_cli.cli.terminal import duration, note, stderr_console

if TYPE_CHECKING:
    from hodor_cli.training.options import TrainingProgress

#: Seconds between two lines where stderr is no terminal, as in the log of a batch job.
_LOG_EVERY = 60.0


class LiveLine:
    """Called with the progress after every iteration; a context manager, entered by the process that draws.

    On a terminal one line is kept up to date; elsewhere a line is written now and then.
    """

    def __init__(self) -> None:
        self._live: Any = None
        self._last = float("-inf")

    def __enter__(self) -> LiveLine:
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = Live(console=stderr_console(), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, progress: TrainingProgress) -> None:
        now = time.monotonic()
        final = progress.iteration == progress.iterations
        if now - self._last < (0.2 if self._live is not None else _LOG_EVERY) and not final:
            return
        self._last = now
        text = (
            f"{progress.iteration}/{progress.iterations}  loss {progress.loss:.3f}  IoU {progress.iou:.2f}  "
            f"{progress.samples_per_second:.1f} samples/s  data {100 * progress.loader_wait:.0f} %  "
            f"{duration(progress.seconds_left)} left"
        )
        if self._live is None:
            note(text)
            return
        from rich.text import Text

        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
