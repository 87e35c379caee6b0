"""Imports of a training, done once in the fork server that every cell's process is forked from.

Nothing here may start a thread or touch CUDA. An error is left to the cells, which report it.
"""

import contextlib

with contextlib.suppress(Exception):
    import ecg_lightning.launching
    import ecg_lightning.training  # noqa: F401
