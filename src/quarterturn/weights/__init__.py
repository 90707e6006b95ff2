"""Weights in and out: files of other codes become runs, and runs become files for other codes."""
