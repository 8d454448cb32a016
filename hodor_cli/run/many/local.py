"""Many videos on one machine: each worker process loads the network once and segments one video after another."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.many.run import JobResult, WorkOptions, segment_job
from hodor_cli.runtime.threads import end_with_parent, usable_cores

#: A video whose worker died is retried once: a second death is unlikely to be chance.
_ATTEMPTS = 2
_TICK_SECONDS = 0.5


def run_locally(
    jobs: Sequence[VideoJob], options: WorkOptions, *, workers: int, devices: Sequence[str] = ()
) -> Generator[JobResult | None]:
    """An `Executor` that runs jobs in a number of processes on this machine.

    devices: of the workers, assigned in turn ("cpu", "cuda:0", ...); if empty, all use the one in the settings. When
    the iterator is closed or raises, the workers are stopped; their unfinished results stay in the attempts' folders.
    """
    waiting = deque((job, 1) for job in jobs)
    count = min(workers, len(jobs))
    threads = max(1, usable_cores() // count)
    started = []
    for number in range(count):
        device = devices[number % len(devices)] if devices else options.settings.device
        own = replace(options, settings=replace(options.settings, device=device))
        started.append(_Worker(number, own, threads))
    try:
        while waiting or any(worker.busy for worker in started):
            for worker in started:
                if not worker.busy and waiting:
                    worker.give(*waiting.popleft())
            ready = {id(item) for item in wait([item for worker in started for item in worker.watched], _TICK_SECONDS)}
            if not ready:
                yield None
            for worker in started:
                if worker.busy and any(id(item) in ready for item in worker.watched):
                    ended = worker.take()
                    if isinstance(ended, JobResult):
                        yield ended
                    else:
                        waiting.appendleft(ended)
    finally:
        for worker in started:
            worker.end()


class _Worker:
    """A process and its current job; after the process dies, the next job starts a new one."""

    def __init__(self, number: int, options: WorkOptions, threads: int) -> None:
        self._number, self._options, self._threads = number, options, threads
        self._process: Any = None
        self._pipe: Any = None
        self._job: tuple[VideoJob, int] | None = None

    @property
    def busy(self) -> bool:
        return self._job is not None

    @property
    def watched(self) -> list[Any]:
        """The objects that become ready when the job ends or the process dies."""
        return [self._pipe, self._process.sentinel] if self.busy else []

    def give(self, job: VideoJob, attempt: int) -> None:
        if self._process is None:
            self._start()
        self._job = (job, attempt)
        with suppress(OSError):  # it died while idle: `take` notices
            self._pipe.send((job, attempt > 1))

    def take(self) -> JobResult | tuple[VideoJob, int]:
        """The result of the job, or the job and the number of its next attempt if the process died."""
        assert self._job is not None
        (job, attempt), self._job = self._job, None
        with suppress(EOFError, OSError):
            if self._pipe.poll():
                result: JobResult = self._pipe.recv()
                return replace(result, attempts=attempt)
        self._process.join()
        code = self._process.exitcode
        self.end()
        if attempt < _ATTEMPTS:
            return job, attempt + 1
        how = f"with exit code {code}"
        if code is not None and code < 0:
            name = {one.value: one.name for one in signal.Signals}.get(-code, str(-code))
            how = f"by signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return JobResult(
            job.name,
            error=f"its worker ended {how} in {attempt} attempts; run hodor segment {job.source} alone to see more",
            attempts=attempt,
        )

    def end(self) -> None:
        """Stop the process, even during a job."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            if self.busy:
                self._process.terminate()
            self._process.join(timeout=10)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._process = self._pipe = self._job = None

    def _start(self) -> None:
        # A new interpreter, because a forked one shares its parent's CUDA state and locks.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._options, self._threads), name=f"hodor-worker-{self._number}", daemon=True
        )
        process.start()
        self._process = process  # not before, because `end` waits for it
        theirs.close()


def _serve(pipe: Connection, options: WorkOptions, threads: int) -> None:
    """Run jobs until the pipe is closed, or the parent dies: a run with `resume` must find the job idle."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets the terminal's interrupt, too, and handles it
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            job, retry = pipe.recv()
        except (EOFError, OSError):
            return
        result = segment_job(job, options, retry=retry)
        try:
            pipe.send(result)
        except OSError:
            return
