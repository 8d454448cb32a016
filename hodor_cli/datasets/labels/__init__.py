"""The one decoder from mask files to object ids; see `hodor_cli.datasets` for an overview."""
