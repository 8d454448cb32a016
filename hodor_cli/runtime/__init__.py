"""The machine: device, precision, threads and memory; and the geometry of the network's input."""
