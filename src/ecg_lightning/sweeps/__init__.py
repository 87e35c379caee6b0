"""Sweeps: each cell runs in a process of its own, and the same command again runs what is left."""
