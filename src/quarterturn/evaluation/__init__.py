"""What a representation is worth: probes on frozen features, and diagnostics while it trains."""
