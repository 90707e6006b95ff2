"""Learning without labels: pretrain and its diagnostics."""
