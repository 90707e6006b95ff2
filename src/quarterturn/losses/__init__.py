"""Losses as pure functions of tensors; they know no model, no bank and no data set."""
