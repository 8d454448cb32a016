"""The command `hodor` and `python -m hodor_cli` begin here."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the console script: run the command line and leave with its exit code."""
    # Nothing has begun while modules load, so Ctrl-C ends the program there at once and without a traceback.
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hodor_cli.cli import main as run

    signal.signal(signal.SIGINT, handler)
    run()


if __name__ == "__main__":
    main()
