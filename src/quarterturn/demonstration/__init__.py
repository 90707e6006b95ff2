"""The demonstration: every method on one small collection."""
