"""The lock of a descriptor store; it lives in `hodor_cli.locks`."""

from __future__ import annotations

from hodor_cli.locks import WriterLock

__all__ = ["WriterLock"]
