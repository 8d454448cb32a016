"""Speed and memory on this machine: the engine against a plain float32 loop, interleaved in one run."""
