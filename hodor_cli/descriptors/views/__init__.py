"""Descriptors as pictures: maps, contact sheets, heat maps, curves."""
