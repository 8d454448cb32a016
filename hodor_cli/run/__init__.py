"""A job over a source: the loop, its result folder, resuming, the report; many videos."""
