"""From an exception to the one line a user reads and the exit code a script reads.

| exit code | meaning |
|---|---|
| 0 | done |
| 2 | wrong usage |
| 3-8 | a `HodorError`: see `hodor_cli/errors.py` |
| 70 | a fault of hodor itself |
| 130 | interrupted |
| 141 | the reader of the output stopped reading |
"""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer

from hodor_cli.cli.terminal import let_go, with_flags, write_stderr
from hodor_cli.errors import DeviceError, HodorError, OutputError
from hodor_cli.files import harmless

INTERNAL_FAULT = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

_NO_MEMORY = (
    "there is not enough memory for this; close other programs, or take a smaller input, `min_dim` or number of workers"
)

# click's exceptions, reached through typer because newer versions of it carry click inside.
_ClickUsageError: type[Exception] = typer.BadParameter.__bases__[0]
_ClickException: type[Exception] = _ClickUsageError.__bases__[0]


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and message (without newline; empty = say nothing) of an exception that ended the command."""
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else int(error.code is not None)), ""
    if isinstance(error, typer.Exit):
        return error.exit_code, ""
    if isinstance(error, (KeyboardInterrupt, EOFError, typer.Abort)):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE, ""
    if isinstance(error, _ClickException):
        return getattr(error, "exit_code", 1), harmless(f"error: {_usage_sentence(error)}")
    if isinstance(error, HodorError):
        return error.exit_code, _with_traceback(error, f"error: {with_flags(str(error))}")
    if _is_out_of_memory(error):
        return DeviceError.exit_code, _with_traceback(error, f"error: {with_flags(_NO_MEMORY)}")
    if isinstance(error, OSError) and (sentence := _os_sentence(error)):
        return OutputError.exit_code, _with_traceback(error, f"error: {sentence}")
    return INTERNAL_FAULT, _with_traceback(error, f"error: {_fault_sentence(error)}")


def report(error: BaseException) -> int:
    """Say on stderr what ended the command, and return its exit code."""
    code, message = explain(error)
    let_go(sys.stdout)
    if message:
        write_stderr(message)
    return code


def _usage_sentence(error: Exception) -> str:
    text = " ".join((error.format_message() if hasattr(error, "format_message") else str(error)).split())
    text = text.replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text} (see `{context.command_path} --help`)"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether the host's or a device's memory was not enough; PyTorch says so in several ways."""
    name, text = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text


def _os_sentence(error: OSError) -> str:
    where = f" writing {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; free some space and run again with --resume where the command has it"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        place = error.filename or "a file"
        return f"no permission for {place}; choose another place or change its rights"
    return ""


def _fault_sentence(error: BaseException) -> str:
    detail = " ".join(str(error).split())[:300]
    what = type(error).__name__ + (f": {detail}" if detail else "")
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return (
        f"unexpected {what}{where}; please report it with the output of `hodor info` "
        "and of this command run with HODOR_DEBUG=1"
    )


def _with_traceback(error: BaseException, message: str) -> str:
    message = harmless(message)
    if os.environ.get("HODOR_DEBUG", "") in ("", "0"):
        return message
    return "".join(traceback.format_exception(error)) + message
