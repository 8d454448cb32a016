"""Masks in files: one decoder from what a file holds to object ids; `hodor_cli.datasets` says what is where."""
