"""Checkpoints: written and read safely, described by plain settings, and built into a classifier again."""
