"""Rewrites an old spelling of a command line to today's. Version 0.2 accepts both; this file goes with version 0.3."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hodor_cli.cli.terminal import warn
from hodor_cli.errors import UsageError

#: The options of version 0.1 that have another name now, in every command.
RENAMED = {"--output": "--out", "--force": "--overwrite"}


def todays(args: list[str]) -> list[str]:
    """The arguments, a subcommand and what follows it, with today's subcommand; a warning is printed for an old one.

    Raises UsageError for `segment VIDEO --masks`, which is a misspelt --mask.
    """
    command, *rest = args
    end = end_of_options(rest)
    options = rest[:end]
    if command == "segment-video":
        _warn("hodor segment-video", "hodor segment")
        command = "segment"
    if command == "segment" and any(text.partition("=")[0] == "--masks" for text in options):
        if _follows_one_video(options):
            raise UsageError("hodor segment follows one video and takes --mask; --masks is of hodor segment-many")
        _warn("hodor segment --masks", "hodor segment-many --masks")
        command = "segment-many"
    if command in ("segment", "segment-many") and "--coco" in options:
        _warn("--coco", "--export coco-video, written to export/coco-video/,")
        # `segment` also takes --coco, to write where version 0.1 did.
        kept = options if command == "segment" else [text for text in options if text != "--coco"]
        options = _exporting(kept, "coco-video")
    return [command, *options, *rest[end:]]


def renamed(args: list[str], known: Collection[str]) -> list[str]:
    """The arguments of a subcommand with today's options; a warning is printed for each old one.

    known: the subcommand's own options; an old one whose name today is not among them stays.
    """
    today = list(args)
    for place, text in enumerate(args[: end_of_options(args)]):
        old, equals, value = text.partition("=")
        if RENAMED.get(old) in known:
            _warn(old, RENAMED[old])
            today[place] = f"{RENAMED[old]}{equals}{value}"
    return today


def end_of_options(args: list[str]) -> int:
    """The place of the -- that no option follows, or the number of arguments."""
    return args.index("--") if "--" in args else len(args)


def _follows_one_video(options: list[str]) -> bool:
    """Whether `segment --masks` names a video file, or a picture as its masks."""
    from hodor_cli.images.picture import PICTURE_SUFFIXES
    from hodor_cli.video.image_folder import VIDEO_SUFFIXES

    words = [word for text in options for word in text.split("=", 1)]
    masks = words[words.index("--masks") + 1 :][:1]
    return any(Path(word).suffix.lower() in VIDEO_SUFFIXES for word in words) or any(
        Path(word).suffix.lower() in PICTURE_SUFFIXES for word in masks
    )


def _exporting(options: list[str], name: str) -> list[str]:
    """Options that export this format too, because --export is given once."""
    added = [
        f"{text},{name}" if before == "--export" or text.startswith("--export=") else text
        for before, text in zip(["", *options], options, strict=False)
    ]
    return ["--export", name, *options] if added == options else added


def _warn(old: str, today: str) -> None:
    warn(f"{old} is {today} now; the old spelling goes in version 0.3")
