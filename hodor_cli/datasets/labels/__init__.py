"""Masks in files: one decoder from what a file holds to object ids."""
