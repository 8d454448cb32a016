"""`hodor annotate`: make masks by clicking, track, correct and export in the browser."""

from __future__ import annotations

from contextvars import copy_context
from pathlib import Path
from typing import Annotated

from hodor_cli.cli.options import FOLLOW_FIELDS, arg, opt, out_option, switch
from hodor_cli.cli.parameters import MACHINE
from hodor_cli.cli.terminal import note, say, with_flags
from hodor_cli.errors import extra
from hodor_cli.run.settings import SegmentSettings


def annotate(
    source: Annotated[str, arg("SOURCE", "A video file, a folder of images, or a result folder of `hodor segment`.")],
    *,
    masks: Annotated[
        Path | None, opt("PATH", "Start from these masks: a folder of mask files, or the annotations of another tool.")
    ] = None,
    out: Annotated[
        Path | None,
        out_option("FOLDER", "Project folder, readable as a result of `hodor segment` [default: NAME.hodor]."),
    ] = None,
    port: Annotated[int | None, opt("N", "Port to listen on [default: a free one].", min=1, max=65535)] = None,
    host: Annotated[
        str,
        opt(
            "ADDRESS",
            "Address to listen on; anyone who can reach it and knows the page's URL can change the project.",
            rich_help_panel=MACHINE,
        ),
    ] = "127.0.0.1",
    browser: Annotated[bool, switch("--browser/--no-browser", "Open the page in a browser.")] = True,
    settings: Annotated[SegmentSettings, FOLLOW_FIELDS],
) -> None:
    """Click an object in the browser, track it, correct it where it drifts, and export. No data leaves this machine.

    Every change is saved immediately; run the same command again to continue. Ctrl-C stops the server.

    hodor annotate clip.mp4
    hodor annotate clip.hodor
    hodor annotate frames/ --masks masks/
    """
    with extra("annotate", "the page"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    from hodor_cli.annotate.opening import AnnotateOptions, annotate_source

    def opened(url: str, folder: Path) -> None:
        say(url)
        note(f"Everything is saved in {folder}. Ctrl-C stops the server.")
        if browser and not _open_browser(url):
            note("No browser could be opened; open the address above in a browser on this machine.")

    # The session runs in a thread of its own, to which the flags of this command have to go along.
    flags = copy_context()
    options = AnnotateOptions(out, masks, host, port or 0, lambda text: flags.run(with_flags, text))
    folder = annotate_source(source, settings, options, opened)
    say(f"Everything is saved in {folder}.")


def _open_browser(url: str) -> bool:
    """Open the page; False where there is no display or browser."""
    import os
    import sys
    import webbrowser

    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False  # `webbrowser` would open a browser in the terminal and wait for it
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
