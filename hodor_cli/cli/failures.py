"""Turn an exception into the one line that a user reads and the exit code that a script reads.

| exit code | meaning |
|---|---|
| 0 | done |
| 2 | wrong usage |
| 3-8 | a `HodorError`: see `hodor_cli/errors.py` |
| 70 | a bug in hodor |
| 130 | interrupted |
| 141 | the reader of the output stopped reading |
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any

import typer

from hodor_cli.cli.terminal import flush_or_discard, with_flags, write_stderr
from hodor_cli.errors import DeviceError, HodorError, InputError, OutputError
from hodor_cli.files import NO_ROOM, harmless

INTERNAL_FAULT = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

_NO_MEMORY = "there is not enough memory; close other programs, or use a smaller input or `min_dim`, or fewer workers"

#: How PyTorch, oneDNN and the system report that memory for arrays, libraries or threads is short.
_OF_MEMORY = re.compile("allocate memory|create a primitive|failed to map segment|can't start new thread")

_EXTRA = re.compile(r"got unexpected extra arguments?(?:\(s\))? \((.*)\)")
#: How typer's parser says that a value has the wrong type.
_PARSED = re.compile(r"Input should be ([^,]*)(, unable to parse string as .*)?")

# click's exceptions, reached through typer because newer versions of it carry click inside.
_ClickException: Any = typer.BadParameter.__bases__[0].__bases__[0]


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and message (one line, or empty to print nothing) for the exception that ended the command."""
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else int(error.code is not None)), ""
    if isinstance(error, typer.Exit):
        return error.exit_code, ""
    if isinstance(error, (KeyboardInterrupt, EOFError, typer.Abort)):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE, ""
    if type(error).__name__ == "NoArgsIsHelpError":  # `hodor data` alone
        return getattr(error, "exit_code", 2), str(error)
    if isinstance(error, _ClickException):
        text = " ".join(error.format_message().split()).replace("Value error, ", "")
        text = _PARSED.sub(r"it must be \1", text)
        text = text[:1].lower() + text[1:].rstrip(".")  # click writes a sentence with a capital letter and a full stop
        context = getattr(error, "ctx", None)
        parameters = [] if context is None else context.command.params
        text = _EXTRA.sub(partial(_extra, parameters), text)
        see = "" if context is None else f" (see `{context.command_path} --help`)"
        return error.exit_code, harmless(f"error: {text}{see}")
    code, sentence = _fault(error)
    message = harmless(f"error: {sentence}")
    debug = os.environ.get("HODOR_DEBUG", "") not in ("", "0")
    return code, "".join(traceback.format_exception(error)) + message if debug else message


def _fault(error: BaseException) -> tuple[int, str]:
    """The exit code and sentence of an error raised while a command worked."""
    if isinstance(error, HodorError):
        return error.exit_code, with_flags(str(error))
    name, text = type(error).__name__, " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or _OF_MEMORY.search(str(error)):
        return DeviceError.exit_code, with_flags(_NO_MEMORY)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return DeviceError.exit_code, "too many files are open; allow more (`ulimit -n 1024`), or use fewer workers"
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        where = f" writing {error.filename}" if error.filename else ""
        sentence = f"the disk is full{where}; free some space and run again with --resume if the command has it"
        return OutputError.exit_code, sentence
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = max(str(error.filename or "").split(os.sep), key=len)
        return OutputError.exit_code, f"the file name {name} is too long; give a shorter one, of results with --out"
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        place = error.filename or "a file"
        return OutputError.exit_code, f"no permission for {place}; choose another place or change its permissions"
    if isinstance(error, UnicodeEncodeError) and (names := sys.getfilesystemencoding()) != "utf-8":
        return InputError.exit_code, f"this locale allows only {names} in file names; set PYTHONUTF8=1"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return INTERNAL_FAULT, (
        f"unexpected {name}{f': {text}' if text else ''}{where}; please report it, with `hodor info` and HODOR_DEBUG=1"
    )


def _extra(parameters: Sequence[Any], found: re.Match[str]) -> str:
    words = found[1].split(" ")
    endings = {os.path.splitext(word)[1] for word in words}
    if len(words) > 1 and len(endings) == 1 and "" not in endings:  # a shell expanded *.png
        return f"{words[0]} and {len(words) - 1} more files belong to no option; give the folder that holds them"
    flags = {flag for parameter in parameters for flag in parameter.opts}
    if found[1].isdigit() and "--adapt" in flags:
        return f"{found[1]} belongs to no option; if it is a budget, give its unit: --adapt {found[1]}s"
    such = next((f", such as {flag}," for flag in ("--mask", "--masks", "--data", "--out") if flag in flags), "")
    return f"{found[1]} belongs to no option: a file follows its option{such} and numbers are joined by commas"


def report(error: BaseException) -> int:
    """Print on stderr what ended the command, and return its exit code."""
    code, message = explain(error)
    flush_or_discard(sys.stdout)
    if message:
        write_stderr(message)
    return code
