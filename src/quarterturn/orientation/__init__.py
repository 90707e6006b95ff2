"""Which images have an up, and which way it is: upright and orient."""
