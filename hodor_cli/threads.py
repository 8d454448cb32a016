"""How the threads of a layer wait for each other, and that their sums come out alike."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_POLICY = "OMP_WAIT_POLICY"
_REPRODUCIBLE = "MKL_CBWR"


def wait_asleep(environ: MutableMapping[str, str] | None = None) -> None:
    """Make the threads of this process sleep while they wait for each other, instead of trying again and again.

    After each layer PyTorch's threads wait for the last of them. By default they do so busily, for milliseconds; where
    a data loader or another program needs one of the cores, that time is taken from the one all are waiting for.
    It must be called before PyTorch is imported, holds for processes started later, and leaves a user's own choice.
    """
    environ = os.environ if environ is None else environ
    environ.setdefault(_POLICY, "PASSIVE")


def add_in_one_order(environ: MutableMapping[str, str] | None = None) -> None:
    """Make the matrix library give the same bits for the same numbers, wherever they lie in memory.

    Without it MKL chooses, on some CPUs, the order of a sum by its operands' alignment and size, and a resumed run, or
    one of two processes, drifts away from the whole one. It costs no measurable time. When to call it: as above.
    """
    environ = os.environ if environ is None else environ
    environ.setdefault(_REPRODUCIBLE, "AUTO")
