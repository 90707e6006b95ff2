"""Metrics: from predictions, detections and embeddings to plain numbers."""
