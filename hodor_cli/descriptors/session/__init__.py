"""What descriptors add to a run of `segment`: starting from stored objects, recording, and watching for drift."""
