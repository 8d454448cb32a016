"""The errors that a user can cause, each with one sentence and an exit code.

The sentence says what is wrong, where, and the way out. The command prints it as a single line on stderr and exits with
`exit_code`; library callers catch it like any exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HodorError(Exception):
    """Base of every error a user can cause. The message is one sentence; `exit_code` is the command's exit status."""

    exit_code = 1


class UsageError(HodorError):
    """Flags or arguments that contradict each other or lie outside what is allowed; the message names them."""

    exit_code = 2


class InputError(HodorError):
    """A file or folder the user gave (video, image, mask, result) is missing, unreadable or does not fit."""

    exit_code = 3


class WeightsError(HodorError):
    """Weights that are unknown, damaged, unsafe, or of another architecture."""

    exit_code = 4


class DeviceError(HodorError):
    """A device or precision was asked for that this machine does not have."""

    exit_code = 5


class OutputError(HodorError):
    """A result cannot be written: it exists already, the disk is full, or the folder is read-only."""

    exit_code = 6


class DataError(HodorError):
    """A data set cannot be used for training or evaluation."""

    exit_code = 7


class TrainingError(HodorError):
    """Training cannot continue, for example after a loss that is not a number."""

    exit_code = 8


def closest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: "; did you mean NAME?", or "" if no known name is like it."""
    # With the default of 0.6 two words of three letters are alike if one letter differs, such as tpu and cpu.
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Raise what a user's file is wrong about in the block as DataError, because it belongs to a data set."""
    try:
        yield
    except DataError:
        raise
    except HodorError as error:
        raise DataError(str(error)) from error


def require_matplotlib(purpose: str) -> None:
    """Raise UsageError, before a long computation, if matplotlib, which `purpose` needs, is not installed."""
    with extra("figures", purpose):
        import matplotlib.figure  # noqa: F401


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Raise UsageError, with the command that installs the package, if an import in the block fails.

    name: the optional extra that has the package. purpose: what needs it.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise UsageError(
            f"{purpose} needs the package {package} ({error}); install it: pip install 'hodor-cli[{name}]'"
        ) from error
