"""What descriptors add to a run of `segment`: known objects to start from, recording, and watching for drift."""
