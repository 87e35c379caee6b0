"""Sweeps: each cell runs in its own process, and the same command again runs the cells that are left."""
