"""One training run: prepare, fit, score, describe."""
