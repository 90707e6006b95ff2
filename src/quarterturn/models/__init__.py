"""Backbones with named layers, heads, and the memory bank."""
