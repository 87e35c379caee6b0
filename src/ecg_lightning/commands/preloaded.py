"""Imports of a training, done once in the fork server that every cell's process is forked from.

Nothing here may touch CUDA or start a thread, except for BLAS libraries, whose threads end before a fork. An error is
left to the cells, which report it.
"""

import contextlib
import gc

with contextlib.suppress(Exception):
    import torch.utils.tensorboard

    import ecg_lightning.commands.launching
    import ecg_lightning.training.run

    __all__ = ["ecg_lightning", "torch"]

gc.freeze()  # what is imported stays; no cell searches it for garbage, or copies its pages to mark them
