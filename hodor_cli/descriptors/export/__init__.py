"""From videos, data sets and photographs to descriptor files."""
