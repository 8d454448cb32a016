"""Forking beside libraries that keep threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def forkable_opencv() -> Iterator[None]:
    """End OpenCV's threads while worker processes are forked: a child that inherited them would hang."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
