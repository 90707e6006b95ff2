"""What frozen features are worth: probes of every kind."""
