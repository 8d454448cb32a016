"""The command `hodor` and `python -m hodor_cli` start here."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the console script: run the command line and exit with its code."""
    # While modules load there is nothing to clean up, so Ctrl-C ends the program immediately, without a traceback.
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hodor_cli.cli import main as run

    signal.signal(signal.SIGINT, handler)
    run()


if __name__ == "__main__":
    main()
