"""`python -m hodor_cli` is the command `hodor`."""

from __future__ import annotations

from hodor_cli.cli import main

if __name__ == "__main__":
    main()
