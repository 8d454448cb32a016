"""The machine: device, precision, threads, allocator, and the geometry of resizing."""
