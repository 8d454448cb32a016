"""Masks from clicks, boxes, scribbles and earlier masks, made by a small separate network."""
