"""Training data: COCO photographs, DAVIS and YouTube-VOS clips, augmented sequences, batches, and checks of it all."""
