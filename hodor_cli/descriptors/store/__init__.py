"""Descriptor files (HDF5): their layout, reading and writing."""
