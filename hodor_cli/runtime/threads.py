"""The processor: its name, its cores, and how threads share them. PyTorch is imported only where it is needed."""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

#: How long threads spin: iterations for GNU's OpenMP (tens of microseconds), milliseconds for LLVM's and Intel's.
_SPINNING = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "0"}
#: The control group, in which Linux limits the processor time of a container.
_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """The number of cores that this process may use, by its affinity and its container's limit; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    limit = _container_limit()
    return max(1, cores if limit is None else min(cores, math.ceil(limit)))


def _container_limit() -> float | None:
    """The number of cores whose time the control group allows; None without a limit."""
    try:
        if (_CGROUP / "cpu.max").is_file():  # version 2
            quota, period = (_CGROUP / "cpu.max").read_text().split()
        else:
            quota, period = ((_CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        limit = int(quota) / int(period)  # ValueError without a limit, which is "max"
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return limit if limit > 0 else None


def processor_name() -> str:
    """The CPU's name, such as "Intel(R) Xeon(R) Platinum 8488C", or what the system reports instead."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Let PyTorch use `count` threads inside the block; None does not change the number."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wait_briefly() -> None:
    """Make threads that wait for each other sleep soon, instead of spinning for milliseconds.

    After each layer PyTorch's threads wait for the slowest one. If another program uses one of the cores, spinning
    takes time from the very thread that the others wait for: on two cores shared with two busy processes, short
    spinning made a network 16 times as fast. On an idle machine it costs less than a tenth. OpenCV, which is given only
    small tasks, uses one thread. Call it before PyTorch and OpenCV are imported. Child processes inherit it; the user's
    own settings are kept.
    """
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    if not any(name in os.environ for name in ("OMP_WAIT_POLICY", *_SPINNING)):
        os.environ.update(_SPINNING)


@contextmanager
def forkable_opencv() -> Iterator[None]:
    """Stop OpenCV's threads while worker processes are forked: a child that inherited them would hang."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def uninterruptible_children() -> Iterator[None]:
    """Block Ctrl-C in the processes that are started inside the block, and until its end in this thread.

    An interrupt while a process imports its modules would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this worker process, even during its work, as soon as its parent dies."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
