"""Which images have an "up": probabilities out of sample, by cross-fitted rotation networks."""
