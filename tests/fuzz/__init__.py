"""A seeded fuzzer: damages every kind of file that the product reads, and runs the commands on it."""
