"""Training samples: augmented sequences of photographs and clips, and their batches. Knows no network."""
