"""Loads batches of training samples, which worker processes make while the network learns from the ones before."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from hodor_cli.errors import DeviceError, HodorError
from hodor_cli.runtime.threads import forkable_opencv, uninterruptible_children
from hodor_cli.samples.batches import Batches
from hodor_cli.samples.sample import Batch


def make_loader(batches: Batches, first: int, end: int, *, workers: int, pinned: bool = False) -> Iterator[Batch]:
    """The batches of iterations `first` to `end` - 1, made by worker processes, which start immediately.

    The batches do not depend on the number of workers; with 0 workers they are made on demand. Raises the errors of
    the workers.
    """
    loader: DataLoader[Batch | HodorError] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, end),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        collate_fn=_shared if workers else None,
        worker_init_fn=quiet_worker,
        pin_memory=pinned,
    )
    before = None if sys.platform == "win32" else signal.getsignal(signal.SIGCHLD)
    with forkable_opencv(), uninterruptible_children():
        made = map(_raised, iter(loader))
    # PyTorch's handler would raise an error about a killed worker amid an iteration; asking for a batch raises it, too.
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)
    return made


@contextmanager
def explained_workers() -> Iterator[None]:
    """Turn PyTorch's error about a killed worker into a DeviceError."""
    try:
        yield
    except (RuntimeError, EOFError, ConnectionError) as error:  # the last two if it dies while it sends a batch
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
            raise
        raise DeviceError(
            "a process that makes samples was killed, probably because memory (in a container, /dev/shm) is short;"
            " continue with `resume` and fewer `workers`"
        ) from error


def _shared(batch: Any) -> Batch | HodorError:
    """The batch in shared memory, or an error if that is full. PyTorch would move it there later, in a thread whose
    errors lose the batch, and the training would wait for it forever."""
    try:
        for value in batch.values() if isinstance(batch, dict) else ():
            if isinstance(value, torch.Tensor):
                value.share_memory_()
    except RuntimeError as error:
        return DeviceError(
            f"a batch cannot be moved to shared memory, in a container /dev/shm ({str(error).rpartition(': ')[2]}); "
            "enlarge it, or use `workers` 0, and continue with `resume`"
        )
    return batch


def _raised(batch: Batch | HodorError) -> Batch:
    if isinstance(batch, HodorError):
        raise batch
    return batch


def quiet_worker(_: int) -> None:
    """Use one thread in each worker, because the workers already run in parallel, and hide the traceback that
    multiprocessing prints if Ctrl-C ends the training while it receives a batch."""
    sys.excepthook = lambda *_: None  # the errors of the worker itself do not reach it
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
