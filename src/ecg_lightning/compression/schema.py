"""Settings of the compression stages and of what follows each of them, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar

from ecg_lightning.components.registry import settings_of
from ecg_lightning.components.setting import MISSING, kind, setting, with_default
from ecg_lightning.errors import ConfigError
from ecg_lightning.hardware.schema import HardwareConfig
from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig, TeachingConfig
from ecg_lightning.models.schema import NetworkConfig
from ecg_lightning.training.schema import (
    MONITORED,
    SEEDS,
    CallbacksConfig,
    PathsConfig,
    TrainerConfig,
    TrainingConfig,
)

_BACKENDS = ("fbgemm", "x86")
_SET_BY_DISTILL = (
    "teacher",
    *(entry.name for entry in fields(TeachingConfig)),
    *(f"optimizer.{entry.name}" for entry in fields(OptimizerConfig) if entry.name != "weight_decay"),
    *(f"scheduler.{entry.name}" for entry in fields(SchedulerConfig)),
)


@dataclass
class StageConfig:
    """Any option of the group `stage`."""

    kind: str = setting(MISSING, "name of the component")

    def check(self, key: str) -> None:
        """Refuse settings that bounds alone cannot. By default, there are none.

        Args:
            key: the stage's own key.

        Raises:
            ConfigError: names the key, its value and how to fix it.
        """


@dataclass
class TrainedStageConfig(StageConfig):
    """A stage that fine-tunes."""

    epochs: int | None = setting(None, "epochs of the fine-tuning; null: compression.fine_tune.epochs", min=0)
    lr: float | None = setting(None, "learning rate; null: compression.fine_tune.lr", above=0.0)


@dataclass
class BF16Config(StageConfig):
    """bfloat16 with 16-bit weights, see `compression.bf16`."""

    target: ClassVar[str] = "ecg_lightning.compression.bf16.BF16"
    kind: str = kind("bf16")


@dataclass
class PruneL1Config(TrainedStageConfig):
    """The smallest weights become zero, see `compression.prune_l1`."""

    target: ClassVar[str] = "ecg_lightning.compression.prune_l1.PruneL1"
    kind: str = kind("prune_l1")
    amount: float = setting(0.7, "share of the weights that become zero", min=0.0, max=0.999)
    layers: list[str] = setting(["conv", "linear"], "kinds of layers: conv, linear, or both")
    scope: str = setting(
        "layer", "layer: each layer alike; global: the smallest weights of all layers", choices=("layer", "global")
    )
    amounts: dict[str, float] = setting({}, "other shares, by the beginning of a layer's name; the longest counts")
    steps: int = setting(1, "times to prune and fine-tune, by the cubic schedule", min=1)


@dataclass
class PruneStructuredConfig(TrainedStageConfig):
    """Whole channels are removed, see `compression.prune_structured`."""

    target: ClassVar[str] = "ecg_lightning.compression.prune_structured.PruneStructured"
    kind: str = kind("prune_structured")
    amount: float = setting(0.5, "share of the channels that are removed", min=0.0, max=0.95)
    # As many bf16 values as a row of AMX's tiles or two AVX-512 vectors hold.
    round_to: int = setting(32, "multiple that the channels left are rounded to", min=1)
    scope: str = setting(
        "layer", "layer: each layer alike; global: layers of a kind ranked together", choices=("layer", "global")
    )
    steps: int = setting(1, "times to prune and fine-tune, by the cubic schedule", min=1)


@dataclass
class ActSwapConfig(TrainedStageConfig):
    """SiLU and GELU become piecewise linear, see `compression.act_swap`."""

    target: ClassVar[str] = "ecg_lightning.compression.act_swap.ActSwap"
    kind: str = kind("act_swap")
    activation: str = setting("relu6", "what replaces SiLU and GELU", choices=("relu", "relu6", "hardswish"))


@dataclass
class DistillConfig(TrainedStageConfig):
    """A student learns from the model and replaces it, see `compression.distill`."""

    target: ClassVar[str] = "ecg_lightning.compression.distill.Distill"
    kind: str = kind("distill")
    student: Any = setting(MISSING, "settings of a model; +schema/model@compression.stages.NAME.student=NETWORK")
    epochs: int | None = setting(30, "epochs of the student's training, which starts from nothing", min=0)
    lr: float | None = setting(1e-3, "learning rate of the student's training", above=0.0)
    alpha: float = setting(0.5, "weight of the labels; the rest is the teacher's", min=0.0, max=1.0)
    temperature: float = setting(1.0, "divisor of both logits; above 1 it softens", above=0.0)

    def check(self, key: str) -> None:
        """Refuse settings of the student that this stage sets itself, and those that the student refuses."""
        student = settings_of("model", self.student, f"{key}.student")
        for name in _SET_BY_DISTILL if isinstance(student, NetworkConfig) else ():
            value = attrgetter(name)(student)
            if value != attrgetter(name)(NetworkConfig()):
                raise ConfigError(
                    f"{key}.student.{name}={value} has no effect, because the stage sets the teacher, rate and "
                    f"schedule. Set {key}.alpha, .temperature, .epochs or .lr"
                )
        student.check(f"{key}.student")


@dataclass
class PTQConfig(StageConfig):
    """int8 without training, by NNCF and ONNX Runtime, see `compression.ptq`."""

    target: ClassVar[str] = "ecg_lightning.compression.ptq.PTQ"
    kind: str = kind("ptq")
    n_calibration: int = setting(300, "training records that give the ranges", min=1)


@dataclass
class QATConfig(TrainedStageConfig):
    """Quantization-aware training for OpenVINO, see `compression.qat`."""

    target: ClassVar[str] = "ecg_lightning.compression.qat.QAT"
    kind: str = kind("qat")
    tool: str = setting(
        "auto",
        "auto: nncf for linear layers and smooth activations, else pt2e",
        choices=("auto", "pt2e", "nncf"),
    )
    n_calibration: int = setting(128, "training records that give the first ranges", min=1)


@dataclass
class FxQATConfig(TrainedStageConfig):
    """Quantization-aware training by PyTorch, see `compression.fx`."""

    target: ClassVar[str] = "ecg_lightning.compression.fx.FxQAT"
    kind: str = kind("fx_qat")
    backend: str = setting("fbgemm", "PyTorch's int8 kernels", choices=_BACKENDS)


@dataclass
class FxStaticConfig(StageConfig):
    """Static int8 without training, by PyTorch, see `compression.fx`."""

    target: ClassVar[str] = "ecg_lightning.compression.fx.FxStatic"
    kind: str = kind("fx_static")
    backend: str = setting("fbgemm", "PyTorch's int8 kernels", choices=_BACKENDS)
    n_calibration: int = setting(300, "training records that give the ranges", min=1)
    ranges: str = setting(
        "average",
        "activations' ranges: average of the batches' extremes, or a histogram",
        choices=("average", "histogram"),
    )


@dataclass
class FxDynamicConfig(StageConfig):
    """Dynamic int8 of the linear layers, by PyTorch, see `compression.fx`."""

    target: ClassVar[str] = "ecg_lightning.compression.fx.FxDynamic"
    kind: str = kind("fx_dynamic")
    backend: str = setting("fbgemm", "PyTorch's int8 kernels", choices=_BACKENDS)


@dataclass
class FineTuneConfig:
    """The training inside a stage; a stage's own `epochs` and `lr` come first."""

    epochs: int = setting(5, "epochs; 0 measures the stage without training", min=0)
    lr: float = setting(1e-4, "learning rate", above=0.0)
    weight_decay: float = setting(0.01, "weight decay", min=0.0)
    warmup: float = setting(0.1, "share of the steps in which the rate rises", min=0.0, max=1.0)
    alpha: float = setting(0.5, "weight of the labels; the rest is the uncompressed model's", min=0.0, max=1.0)
    temperature: float = setting(1.0, "divisor of both logits; above 1 it softens", above=0.0)
    # F1 at 0.5 would choose by calibration, which is redone after the stage anyway.
    monitor: str = setting("val/auroc_macro", "metric that chooses the start or the best epoch", choices=MONITORED)


@dataclass
class LatencyConfig:
    """Settings of the latency measurement, see `deployment.measuring.latency`."""

    batches: list[int] = setting([1, 32], "numbers of records at a time; 1 must be among them")
    rounds: int = setting(10, "rounds of all variants, one after the other", min=1)
    warmup: int = setting(3, "runs before the first round", min=0)
    min_round_s: float = setting(0.05, "seconds that a round lasts at least", min=0.0)


@dataclass
class CompressionConfig:
    """The stages that follow the training, in order and by name, and how each result is measured."""

    stages: dict[str, Any] = setting({}, "the stages by name, in order; compression=NAME brings them")
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    margin: float = setting(0.01, "macro F1 that a variant may lose and still be non-inferior", min=0.0, max=1.0)
    n_resamples: int = setting(1000, "resamples of the bootstrap", min=100)
    deploy: bool = setting(True, "whether the model and each stage's result are exported, timed and scored")
    pt2: bool = setting(False, "whether PyTorch's own .pt2 files are also written")
    latency: LatencyConfig = field(default_factory=LatencyConfig)


@dataclass
class TrainConfig(TrainingConfig):
    """The root of `conf/train.yaml`: a training, and the compression of its model."""

    compression: CompressionConfig = field(default_factory=CompressionConfig)


@dataclass
class CompressConfig:
    """The root of `conf/compress.yaml`."""

    task_name: str = with_default(TrainingConfig, "task_name", "compress")
    ckpt_path: str | None = setting(None, "FILE: the trained checkpoint")
    seed: int = setting(0, "random seed of the fine-tuning", **SEEDS)
    monitor: str = setting("${compression.fine_tune.monitor}", "metric of early stopping", choices=MONITORED)
    data: Any = setting({}, "the checkpoint's data, or data=ptbxl data.root=DIR")
    compression: CompressionConfig = field(default_factory=CompressionConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: dict[str, Any] = with_default(TrainingConfig, "logger", {})
    paths: PathsConfig = field(default_factory=PathsConfig)


CompressionSettings = TrainConfig | CompressConfig
"""Settings of a compression, after a training or alone."""
