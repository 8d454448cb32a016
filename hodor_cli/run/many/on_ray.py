"""Many videos on the machines of a Ray cluster (an optional extra): one task for each video.

The videos, the masks and the result folder must have the same paths on every machine. Ray's own retries are disabled:
a retried task must know that it is one, so that it continues the results of the lost task.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import replace
from os.path import exists
from pathlib import Path
from typing import Any

from hodor_cli.errors import UsageError, extra
from hodor_cli.run.many.jobs import VideoJob
from hodor_cli.run.many.run import JobResult, WorkOptions, segment_job

#: A cluster may lose several machines in a row.
_ATTEMPTS = 4
_TICK_SECONDS = 0.5
_CONNECT_SECONDS = 5.0


def run_on_ray(
    jobs: Sequence[VideoJob], options: WorkOptions, *, address: str, at_once: int | None = None
) -> Generator[JobResult | None]:
    """An `Executor` that runs jobs as tasks of a Ray cluster, each with a GPU if the cluster has any.

    address: `auto` for the cluster of this machine, or `HOST:PORT` (or `ray://HOST:PORT`) of a cluster's head. at_once:
    the largest number of tasks at the same time; None: as many as the cluster has room for. Raises UsageError if Ray is
    not installed or the cluster cannot be reached.
    """
    ray = connect(address)
    options = _anywhere(options)
    there = [replace(job, source=job.source.resolve(), masks=job.masks.resolve()) for job in jobs]
    waiting = deque((job, 1) for job in there)
    running: dict[Any, tuple[VideoJob, int]] = {}
    try:
        wanted = options.settings.device in ("auto", "cuda")
        gpu = wanted and ray.cluster_resources().get("GPU", 0) >= 1
        task = ray.remote(num_cpus=1, num_gpus=float(gpu), max_retries=0)(_task)
        while waiting or running:
            while waiting and (at_once is None or len(running) < at_once):
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
    """The module `ray`, connected to a cluster. Raises UsageError if the cluster cannot be reached."""
    with extra("ray", "`ray`"):
        import ray
    place = address.removeprefix("ray://")
    if address != "auto":
        # Ray itself would try for two minutes and then end the process.
        host, colon, port = place.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise UsageError(f"`ray` takes auto or HOST:PORT of a cluster's head, not '{address}'")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise UsageError(f"no Ray cluster is at {address} ({error}); check it, or `ray start --head`") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except ConnectionError as error:  # Ray's text names its own options
        raise UsageError(f"no Ray cluster could be reached at {address}; start one with `ray start --head`") from error
    except (RuntimeError, ValueError, TimeoutError) as error:
        raise UsageError(f"the Ray cluster at {address} cannot be used: {_one_line(error)}") from error
    except SystemExit as error:
        raise UsageError(f"the server at {address} is not the head of a Ray cluster; check the port") from error
    return ray


def _anywhere(options: WorkOptions) -> WorkOptions:
    """The options with absolute paths, because tasks run in other working directories."""
    weights = Path(options.settings.weights)
    named = str(weights.resolve()) if weights.is_file() else options.settings.weights
    return replace(options, out=options.out.resolve(), settings=replace(options.settings, weights=named))


def _task(job: VideoJob, options: WorkOptions, retry: bool) -> JobResult:
    """Segment one video on a machine of the cluster, with one thread or one GPU."""
    import torch

    torch.set_num_threads(1)
    where = socket.gethostname()
    for path in (job.source, job.masks, options.out):
        if not exists(path):
            way_out = "put videos, masks and results on a file system that all machines of the cluster share"
            return JobResult(job.name, error=f"{path} does not exist on {where}; {way_out}", where=where)
    return replace(segment_job(job, options, retry=retry), where=where)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The last line of a remote traceback is the error itself.
    text = (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else type(error).__name__
    return text[:200]
