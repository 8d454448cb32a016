"""How fast a run is, and how much of its time it waits for data."""

from __future__ import annotations

import time

#: Weight of the newest iteration in the running means.
_NEW = 0.05


class Clock:
    """Samples per second, and the share of time spent waiting for the loader, as running means over the iterations."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.wait_share = 0.0
        self._started = self._waited = time.perf_counter()
        self._iterations = 0

    def waiting(self) -> None:
        """An iteration begins: the next batch is asked for."""
        self._started = time.perf_counter()

    def working(self) -> None:
        """The batch is here."""
        self._waited = time.perf_counter()

    def done(self, samples: int) -> None:
        """The iteration is over."""
        now = time.perf_counter()
        duration = max(now - self._started, 1e-9)
        rate, share = samples / duration, (self._waited - self._started) / duration
        self._iterations += 1
        # The first iteration starts the workers and warms everything up: it says nothing about those after it.
        new = 1.0 if self._iterations <= 2 else max(_NEW, 1 / (self._iterations - 1))
        self.rate += new * (rate - self.rate)
        self.wait_share += new * (share - self.wait_share)
