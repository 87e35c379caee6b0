"""Imports of a training, done once in the fork server from which every cell's process is forked.

Nothing here may touch CUDA or start a thread, except for BLAS libraries, whose threads end before a fork. The cells
report any error.
"""

import contextlib
import gc

with contextlib.suppress(Exception):
    import torch.utils.tensorboard

    import ecg_lightning.commands.launching
    import ecg_lightning.training.run

    __all__ = ["ecg_lightning", "torch"]

gc.freeze()  # so that no cell searches the imports for garbage, or copies their pages to mark them
