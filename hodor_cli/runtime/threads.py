"""How the threads of a layer wait for each other."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

_POLICY = "OMP_WAIT_POLICY"


def wait_asleep(environ: MutableMapping[str, str] | None = None) -> None:
    """Make the threads of this process sleep while they wait for each other, instead of trying again and again.

    After each layer PyTorch's threads wait for the last of them. By default they do so busily, for milliseconds; where
    a data loader or another program needs one of the cores, that time is taken from the one all are waiting for.
    It must be called before PyTorch is imported, holds for processes started later, and leaves a user's own choice.
    """
    environ = os.environ if environ is None else environ
    environ.setdefault(_POLICY, "PASSIVE")
