"""Searching descriptors: comparison, queries, the retrieval protocol and the projection."""
