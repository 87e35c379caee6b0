"""Metrics and thresholds: what a trained model is worth, measured on the right fold."""
