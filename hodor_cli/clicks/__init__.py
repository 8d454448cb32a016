"""Masks from clicks, boxes, scribbles and earlier masks, made by a small separate network.

`Clicker` is imported at its first use, so that the settings can be imported without PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Clicker"]

if TYPE_CHECKING:
    from hodor_cli.clicks.clicker import Clicker


def __getattr__(name: str) -> Any:
    """Import the public name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hodor_cli.clicks.clicker import Clicker

    return Clicker
