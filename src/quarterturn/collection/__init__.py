"""A collection by its features: embed, neighbors, label; and its cache."""
