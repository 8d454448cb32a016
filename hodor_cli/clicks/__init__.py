"""Masks from clicks, boxes, scribbles and earlier masks, by a small network of its own."""

from hodor_cli.clicks.clicker import Clicker

__all__ = ["Clicker"]
