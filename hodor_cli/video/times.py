"""Frames that are named by their number, or by a time such as 12.5s or 00:01:02."""

from __future__ import annotations

import re

from hodor_cli.errors import UsageError

_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)(s?)", re.ASCII)
#: Times that containers round to milliseconds are those that a user means.
_CLOSE = 0.0006


def number_or_seconds(frame: int | str, name: str) -> int | float:
    """The number of a frame as an int, or its time in seconds as a float.

    frame: 40, "40", "12.5s", "1:02.5" or "00:01:02.5". name: of the parameter, for messages. Raises UsageError for any
    other text.
    """
    if isinstance(frame, int):
        return frame
    text = frame.strip()
    if text.isascii() and text.isdigit():
        return int(text)
    found = _TIME.fullmatch(text.lower())
    if found is None or (":" not in text and not found[4]):
        raise UsageError(
            f"`{name}` {text!r} is neither a frame nor a time; give a frame's number, counted from 0, or a time such as"
            " 12.5s or 00:01:02.5"
        )
    hours, minutes, seconds, _ = found.groups()
    return 3600.0 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def reached(time: float, seconds: float) -> bool:
    """Whether a frame of this time is the one that `seconds` means, or a later one."""
    return time >= seconds - _CLOSE
