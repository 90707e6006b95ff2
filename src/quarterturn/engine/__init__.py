"""The training loop and what it stands on; knows no method by name."""
