"""Barlow Twins for quarterturn, in a package of its own."""
