"""What to know of images before training."""
