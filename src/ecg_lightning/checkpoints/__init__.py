"""Checkpoints: safe writing and reading, a description by plain settings, and the classifier built from it."""
