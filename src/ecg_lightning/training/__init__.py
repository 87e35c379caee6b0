"""A training run: prepare, fit, score and describe."""
