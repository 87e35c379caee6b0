"""Progressive learning: small images with little dropout first, then larger images with more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ecg_lightning.errors import ConfigError
from ecg_lightning.learning.module import ECGModule
from ecg_lightning.models.trial import failure_of


class ProgressiveResizing(Callback):
    """A callback that enlarges the training's images from stage to stage, and dropout with them (Tan & Le 2021).

    This is algorithm 1 of arXiv 2104.00298. Image size and regularisation grow linearly over stages of equal numbers of
    epochs. The last stage has the images and the dropout of the recipe, as validation and deployment always have.
    The defaults are those of EfficientNetV2-S there: 4 stages, images from 128 to 300 pixels, dropout from 0.1 to 0.3.

    Args:
        first_size: side of the first stage's images, as a share of the front end's.
        first_dropout: dropout of the first stage, as a share of the recipe's.
        stages: number of stages.
    """

    def __init__(self, first_size: float = 0.43, first_dropout: float = 0.33, stages: int = 4) -> None:
        if not 0 < first_size <= 1 or not 0 <= first_dropout <= 1:
            raise ValueError(f"first_size={first_size}, first_dropout={first_dropout}: give shares from 0 to 1")
        if stages < 2:
            raise ValueError(f"stages={stages}: give at least 2")
        self.first_size = first_size
        self.first_dropout = first_dropout
        self.stages = stages
        self.size: tuple[int, int] | None = None
        self._dropout: list[tuple[nn.Module, str, float]] = []
        self._hook: RemovableHandle | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a network that does not accept images of other sizes.

        Raises:
            ConfigError: the front end makes no image, or the network needs the recipe's size.
        """
        assert isinstance(pl_module, ECGModule)
        made = pl_module.frontend.network_input
        if len(made.shape) != 3:
            raise ConfigError(
                f"callbacks=progressive resizes images, but the front end makes {made}. Use frontend=matrix"
            )
        height, width = self._size_of(0, made.shape)
        if failure := failure_of(pl_module.network, (made.shape[0], height, width), len(pl_module.classes)):
            raise ConfigError(
                f"callbacks=progressive: {type(pl_module.network).__name__} does not accept the first stage's "
                f"{height} × {width} pixels ({failure}). Use a convolutional network, or a larger first_size"
            )
        self._dropout = [*_dropout_of(pl_module.network)]
        self._hook = pl_module.network.register_forward_pre_hook(self._resized)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the stage of the epoch. A resumed epoch has no start of its own."""
        assert isinstance(pl_module, ECGModule)
        assert trainer.max_epochs is not None
        stage = min(self.stages - 1, self.stages * trainer.current_epoch // trainer.max_epochs)
        self.size = self._size_of(stage, pl_module.frontend.network_input.shape)
        for module, name, whole in self._dropout:
            setattr(module, name, whole * self._grown(self.first_dropout, stage))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the network back as it was."""
        if self._hook is not None:
            self._hook.remove()
        for module, name, whole in self._dropout:
            setattr(module, name, whole)
        self._hook, self._dropout, self.size = None, [], None

    def _size_of(self, stage: int, shape: tuple[int, ...]) -> tuple[int, int]:
        _, height, width = shape
        share = self._grown(self.first_size, stage)
        return max(1, round(share * height)), max(1, round(share * width))

    def _grown(self, first: float, stage: int) -> float:
        return first + (1 - first) * stage / (self.stages - 1)

    def _resized(self, network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        images_BCHW: Tensor = inputs[0]
        if not network.training or self.size is None or images_BCHW.shape[2:] == self.size:
            return None
        return F.interpolate(images_BCHW, size=self.size, mode="bilinear", antialias=True), *inputs[1:]


def _dropout_of(network: nn.Module) -> Iterator[tuple[nn.Module, str, float]]:
    """Yield each dropout probability of a network: its module, attribute and value."""
    for module in network.modules():
        name = "p" if isinstance(module, nn.Dropout) else "drop_rate"  # timm's, for a dropout that is not a module
        if isinstance(value := getattr(module, name, None), float):
            yield module, name, value
