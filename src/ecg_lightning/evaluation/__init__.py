"""Metrics, thresholds and calibration: how good a trained model is, measured on the right fold."""
