"""Videos side by side on the machines of a Ray cluster (an optional extra): one task for each video.

Every machine must see the videos, the masks and the result folder under the same paths. Ray's own retries are switched
off: a task that is begun again must know that it is, to continue what the lost one had done.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hodor_cli.errors import UsageError, extra
from hodor_cli.images.paths import exists
from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.many.run import JobResult, WorkOptions, segment_job

#: A cluster may lose several machines in a row.
_ATTEMPTS = 4
_TICK_SECONDS = 0.5
_CONNECT_SECONDS = 5.0


class RayExecutor:
    """Runs jobs as tasks of a Ray cluster.

    Args:
        address: `auto` for the cluster that runs on this machine, or `HOST:PORT` (or `ray://HOST:PORT`) of one.
        at_once: Most tasks at the same time; None: as many as the cluster has room for.

    Each task takes a GPU where the cluster has any.
    """

    def __init__(self, address: str, *, at_once: int | None = None) -> None:
        self.address, self.at_once = address, at_once

    def results(self, jobs: Sequence[VideoJob], options: WorkOptions) -> Generator[JobResult | None]:
        """Each job's result as it ends, and None now and then while none does.

        Raises UsageError if Ray is not installed or the cluster cannot be reached.
        """
        ray = connect(self.address)
        options = _anywhere(options)
        there = [replace(job, source=job.source.resolve(), masks=job.masks.resolve()) for job in jobs]
        waiting = deque((job, 1) for job in there)
        running: dict[Any, tuple[VideoJob, int]] = {}
        try:
            wanted = options.settings.device in ("auto", "cuda")
            gpu = wanted and ray.cluster_resources().get("GPU", 0) >= 1
            task = ray.remote(num_cpus=1, num_gpus=float(gpu), max_retries=0)(_task)
            while waiting or running:
                while waiting and (self.at_once is None or len(running) < self.at_once):
                    job, attempt = waiting.popleft()
                    running[task.remote(job, options, attempt > 1)] = (job, attempt)
                ready, _ = ray.wait(list(running), num_returns=1, timeout=_TICK_SECONDS)
                if not ready:
                    yield None
                for reference in ready:
                    job, attempt = running.pop(reference)
                    try:
                        result: JobResult = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        at_fault = (ray.exceptions.RayTaskError, ray.exceptions.TaskCancelledError)
                        if not isinstance(error, at_fault) and attempt < _ATTEMPTS:  # a machine or process was lost
                            waiting.appendleft((job, attempt + 1))
                            continue
                        result = JobResult(job.name, error=f"{_one_line(error)} (attempt {attempt})")
                    yield replace(result, attempts=attempt)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            ray.shutdown()


def connect(address: str) -> Any:
    """The module `ray`, connected to a cluster. Raises UsageError if there is none that can be reached."""
    with extra("ray", "`ray`"):
        import ray
    place = address.removeprefix("ray://")
    if address != "auto":
        # Ray itself tries for two minutes, and then ends the process.
        host, colon, port = place.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise UsageError(f"`ray` takes auto or HOST:PORT of a cluster's head, not '{address}'")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"there is no Ray cluster at {address} ({error}); start one with `ray start --head`, or check the "
                "address and the firewall"
            ) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UsageError(
            f"no Ray cluster could be reached at {address} ({_one_line(error)}); start one with `ray start --head`"
        ) from error
    except SystemExit as error:
        raise UsageError(f"what answers at {address} is not a Ray cluster's head; check the port") from error
    return ray


def _anywhere(options: WorkOptions) -> WorkOptions:
    """The options with absolute paths, because tasks have other working directories."""
    weights = Path(options.settings.weights)
    named = str(weights.resolve()) if weights.is_file() else options.settings.weights
    return replace(options, out=options.out.resolve(), settings=replace(options.settings, weights=named))


def _task(job: VideoJob, options: WorkOptions, retry: bool) -> JobResult:
    """What a machine of the cluster does: one video, on one thread or one GPU."""
    import torch

    torch.set_num_threads(1)
    where = socket.gethostname()
    for path in (job.source, job.masks, options.out):
        if not exists(path):  # what the machine that gave the command sees
            fault = f"{where} sees no {path}; videos, masks and results must lie on a path that all machines of the"
            return JobResult(job.name, error=f"{fault} cluster share", where=where)
    return replace(segment_job(job, options, retry=retry), where=where)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The last line of a remote traceback is the error itself.
    text = (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else type(error).__name__
    return text[:200]
