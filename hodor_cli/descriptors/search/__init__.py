"""Searching descriptors: comparison, queries, the retrieval protocol, the projection."""
