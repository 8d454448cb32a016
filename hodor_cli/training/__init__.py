"""Training: cycles over short sequences, losses, schedules, and the loop that runs them on any number of devices."""
