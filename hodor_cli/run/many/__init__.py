"""Many videos side by side: on the cores or GPUs of one machine, or on a Ray cluster."""
