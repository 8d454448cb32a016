"""Rewrites command lines of version 0.1 to the current spelling. Version 0.3 will drop this file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hodor_cli.cli.terminal import warn
from hodor_cli.errors import UsageError

#: Options of version 0.1 that were renamed, in every command.
RENAMED = {"--output": "--out", "--force": "--overwrite"}


def current_command(args: list[str]) -> list[str]:
    """The arguments, from the subcommand on, with the current subcommand; prints a warning about an old one.

    Raises UsageError for `segment VIDEO --masks`, a misspelt --mask.
    """
    command, *rest = args
    end = end_of_options(rest)
    options = rest[:end]
    if command == "segment-video":
        _warn("hodor segment-video", "hodor segment")
        command = "segment"
    if command == "segment" and any(text.partition("=")[0] == "--masks" for text in options):
        if _follows_one_video(options):
            raise UsageError("hodor segment takes one video and --mask; --masks belongs to hodor segment-many")
        _warn("hodor segment --masks", "hodor segment-many --masks")
        command = "segment-many"
    if command in ("segment", "segment-many") and "--coco" in options:
        _warn("--coco", "--export coco-video, written to export/coco-video/,")
        # `segment` still takes --coco, to also write where version 0.1 did.
        kept = options if command == "segment" else [text for text in options if text != "--coco"]
        options = _exporting(kept, "coco-video")
    return [command, *options, *rest[end:]]


def current_options(args: list[str], known: Collection[str]) -> list[str]:
    """The arguments of a subcommand with the current option names; prints a warning about each old one.

    known: the subcommand's options; an old name stays if its current name is not among them.
    """
    current = list(args)
    for place, text in enumerate(args[: end_of_options(args)]):
        old, equals, value = text.partition("=")
        if RENAMED.get(old) in known:
            _warn(old, RENAMED[old])
            current[place] = f"{RENAMED[old]}{equals}{value}"
    return current


def end_of_options(args: list[str]) -> int:
    """The index of `--`, after which no option follows, or the number of arguments."""
    return args.index("--") if "--" in args else len(args)


def _follows_one_video(options: list[str]) -> bool:
    """Whether `segment --masks` is given a video file as source, or a picture as masks."""
    from hodor_cli.images.picture import PICTURE_SUFFIXES
    from hodor_cli.video.image_folder import VIDEO_SUFFIXES

    words = [word for text in options for word in text.split("=", 1)]
    masks = words[words.index("--masks") + 1 :][:1]
    return any(Path(word).suffix.lower() in VIDEO_SUFFIXES for word in words) or any(
        Path(word).suffix.lower() in PICTURE_SUFFIXES for word in masks
    )


def _exporting(options: list[str], name: str) -> list[str]:
    """The options with this format added to --export, which can be given only once."""
    added = [
        f"{text},{name}" if before == "--export" or text.startswith("--export=") else text
        for before, text in zip(["", *options], options, strict=False)
    ]
    return ["--export", name, *options] if added == options else added


def _warn(old: str, current: str) -> None:
    warn(f"{old} is {current} now; the old spelling will be removed in version 0.3")
