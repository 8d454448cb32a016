"""Segments a source into a result folder: the loop, resuming, the report; and many sources in processes or on Ray."""
