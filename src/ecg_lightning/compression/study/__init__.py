"""Measurements of each variant: its files, scores, sizes and times, and its distance from the previous model."""
