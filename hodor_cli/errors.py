"""The errors that a user can cause. Each has a message of one sentence and an exit code.

The sentence says what is wrong, where, and what to do. The command prints it as a single line on stderr and exits with
`exit_code`; library callers catch the error like any exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HodorError(Exception):
    """Base class of every error that a user can cause. exit_code: the command's exit status."""

    exit_code = 1


class UsageError(HodorError):
    """Options or arguments contradict each other or are out of range; the message names them."""

    exit_code = 2


class InputError(HodorError):
    """A file or folder from the user (video, image, mask, result) is missing, unreadable or does not fit."""

    exit_code = 3


class WeightsError(HodorError):
    """Weights are unknown, damaged, unsafe, or of another architecture."""

    exit_code = 4


class DeviceError(HodorError):
    """This machine does not have the requested device or precision."""

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
    """The end of a message about an unknown name: "; did you mean NAME?", or "" if no known name is similar."""
    # With the default of 0.6, words of three letters are similar if only one letter differs, such as tpu and cpu.
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Raise any HodorError of the block as DataError, because the file at fault belongs to a data set."""
    try:
        yield
    except DataError:
        raise
    except HodorError as error:
        raise DataError(str(error)) from error


def not_a_network(model: object) -> UsageError:
    """The error for a `model` that is something else, such as the name of weights."""
    found = repr(model) if isinstance(model, str) else f"a {type(model).__name__}"
    return UsageError(f"`model` is {found}; give a network, such as load_model('mini')")


def require_matplotlib(purpose: str) -> None:
    """Raise UsageError if matplotlib is not installed. Called before a long computation; purpose: what needs it."""
    with extra("figures", purpose):
        import matplotlib.figure  # noqa: F401


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Raise UsageError, with the command that installs the package, if an import in the block fails.

    name: the optional extra with the package. purpose: what needs it.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise UsageError(f"{purpose} needs the package {package} ({error}); pip install 'hodor-cli[{name}]'") from error
