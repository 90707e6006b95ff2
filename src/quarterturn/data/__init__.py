"""Images as tensors: sources, one indexed data set behind them, crops, batches."""
