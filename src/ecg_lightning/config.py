"""Typed configuration: dataclass schemas and their registration with Hydra; `validation` checks what types cannot.

A field's metadata holds what is allowed: `choices`, `min`, `max`, `above` (exclusive minimum), `pattern` (and
how it is called), `batches` (Lightning's number or share of batches). Nothing here imports PyTorch, so a wrong key,
type or value is refused in under a second.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from omegaconf import MISSING, OmegaConf

from ecg_lightning.evaluation.metric_table import monitored
from ecg_lightning.models.recipe import OptimizerConfig, SchedulerConfig

N_LEADS = 12
MONITORED = monitored()


@dataclass
class DataConfig:
    """`PTBXLDataModule`'s arguments."""

    _target_: str = "ecg_lightning.data.datamodule.PTBXLDataModule"
    root: str | None = None
    sampling_rate: int = field(default=100, metadata={"choices": (100, 500)})
    batch_size: int = field(default=32, metadata={"min": 1})
    label_rule: str = field(default="benchmark", metadata={"choices": ("benchmark", "ge50", "eq100")})
    task: str = field(
        default="superdiagnostic",
        metadata={"choices": ("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all")},
    )
    train_folds: list[int] = field(default_factory=lambda: list(range(1, 9)))
    val_folds: list[int] = field(default_factory=lambda: [9])
    test_folds: list[int] = field(default_factory=lambda: [10])
    keep_unlabelled: bool = False
    on_bad_record: str = field(default="error", metadata={"choices": ("error", "skip")})
    cache_dir: str | None = None
    num_workers: int = field(default=0, metadata={"min": 0})


@dataclass
class SyntheticConfig(DataConfig):
    """`SyntheticPTBXLDataModule`'s arguments."""

    _target_: str = "ecg_lightning.data.datamodule.SyntheticPTBXLDataModule"
    n_records: int = field(default=2000, metadata={"min": 100})
    data_seed: int = field(default=0, metadata={"min": 0})


@dataclass
class CheckpointDataConfig:
    """The data that a checkpoint was trained on; null: as it was there."""

    root: str | None = None
    batch_size: int | None = field(default=None, metadata={"min": 1})
    on_bad_record: str | None = field(default=None, metadata={"choices": ("error", "skip")})
    cache_dir: str | None = None
    num_workers: int | None = field(default=None, metadata={"min": 0})


@dataclass
class AugmentationConfig:
    """`Augmentation`'s arguments; all 0 is off."""

    axis_deg: float = field(default=0.0, metadata={"min": 0.0, "max": 180.0})
    tempo: float = field(default=0.0, metadata={"min": 0.0, "max": 1.0})
    amplitude: float = field(default=0.0, metadata={"min": 0.0})
    noise_mv: float = field(default=0.0, metadata={"min": 0.0})
    wander_mv: float = field(default=0.0, metadata={"min": 0.0})
    lead_dropout: float = field(default=0.0, metadata={"min": 0.0, "max": 1.0})
    time_shift: float = field(default=0.0, metadata={"min": 0.0, "max": 1.0})


@dataclass
class FrontendConfig:
    """`SignalFrontend`'s arguments, shared by every front end."""

    gives: ClassVar[str] = "signal"

    _target_: str = "ecg_lightning.frontend.frontend.SignalFrontend"
    normalization: str = field(default="lead", metadata={"choices": ("lead", "global", "fixed")})
    mean: float = 0.0
    std: float = field(default=1.0, metadata={"above": 0.0})
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass
class MatrixConfig(FrontendConfig):
    """`MatrixFrontend`'s arguments."""

    gives: ClassVar[str] = "image"

    _target_: str = "ecg_lightning.frontend.frontend.MatrixFrontend"
    size: Any = field(default_factory=lambda: [64, 512])  # pixels: one number, or [height, width]
    rows: str = field(default="leads", metadata={"choices": ("leads", "time")})
    channels: int = field(default=1, metadata={"choices": (1, 3)})


@dataclass
class StripsConfig(FrontendConfig):
    """`StripsFrontend`'s arguments."""

    gives: ClassVar[str] = "image"

    _target_: str = "ecg_lightning.frontend.frontend.StripsFrontend"
    size: Any = None  # pixels: [height, width]; null: bands as high as the model's patches, 32 patches long
    channels: int = field(default=1, metadata={"choices": (1, 3)})


@dataclass
class ModelConfig:
    """What every architecture shares."""

    takes: ClassVar[str] = "image"  # what its front end must give

    _target_: str = MISSING
    pretrained: bool = False
    weights: str | None = None
    teacher: Any = None  # a checkpoint, or a folder of a cross-validation, or a list of such folders
    dropout: float = field(default=0.0, metadata={"min": 0.0, "max": 0.99})
    drop_path: float = field(default=0.0, metadata={"min": 0.0, "max": 0.99})
    loss: str = field(default="bce", metadata={"choices": ("bce", "asymmetric", "argmax_cross_entropy")})
    label_smoothing: float = field(default=0.0, metadata={"min": 0.0, "max": 0.9})
    class_weights: bool = False  # positives weighed by the training folds' negatives per positive
    mixup: float = field(default=0.0, metadata={"min": 0.0})  # α; 0: none
    # What the teacher gives, see `models.distillation`; without one they rule nothing.
    alpha: float = field(default=0.5, metadata={"min": 0.0, "max": 1.0})
    temperature: float = field(default=1.0, metadata={"above": 0.0})
    hard_share: float = field(default=0.0, metadata={"min": 0.0, "max": 1.0})  # of the teacher's part: its decisions
    teacher_sees: str = field(default="augmented", metadata={"choices": ("augmented", "record")})
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)


@dataclass
class ViTConfig(ModelConfig):
    """`ViT`'s arguments."""

    _target_: str = "ecg_lightning.models.vit.ViT"
    dropout: float = field(default=0.1, metadata={"min": 0.0, "max": 0.99})
    patch_size: int = field(default=8, metadata={"min": 1})
    dim: int = field(default=256, metadata={"min": 1})
    depth: int = field(default=6, metadata={"min": 1})
    heads: int = field(default=4, metadata={"min": 1})
    mlp_dim: int = field(default=1024, metadata={"min": 1})
    attention_dropout: float = field(default=0.0, metadata={"min": 0.0, "max": 0.99})
    patch_drop: float = field(default=0.0, metadata={"min": 0.0, "max": 0.9})


@dataclass
class DeiTConfig(ModelConfig):
    """`DeiT`'s arguments."""

    _target_: str = "ecg_lightning.models.deit.DeiT"
    drop_path: float = field(default=0.1, metadata={"min": 0.0, "max": 0.99})
    variant: str = field(default="tiny", metadata={"choices": ("tiny", "small", "base")})
    patch_size: int = field(default=16, metadata={"min": 1})
    dim: int | None = field(default=None, metadata={"min": 1})
    depth: int | None = field(default=None, metadata={"min": 1})
    heads: int | None = field(default=None, metadata={"min": 1})
    attention_dropout: float = field(default=0.0, metadata={"min": 0.0, "max": 0.99})
    patch_drop: float = field(default=0.0, metadata={"min": 0.0, "max": 0.9})


@dataclass
class EffNetV2Config(ModelConfig):
    """`EffNetV2`'s arguments."""

    _target_: str = "ecg_lightning.models.effnetv2.EffNetV2"
    dropout: float = field(default=0.2, metadata={"min": 0.0, "max": 0.99})
    drop_path: float = field(default=0.2, metadata={"min": 0.0, "max": 0.99})
    width: float = field(default=1.0, metadata={"above": 0.0})
    depth: float = field(default=1.0, metadata={"above": 0.0})


@dataclass
class ConvNeXtConfig(ModelConfig):
    """`ConvNeXt`'s arguments."""

    _target_: str = "ecg_lightning.models.convnext.ConvNeXt"
    drop_path: float = field(default=0.1, metadata={"min": 0.0, "max": 0.99})
    channels: list[int] = field(default_factory=lambda: [96, 192, 384, 768])
    blocks: list[int] = field(default_factory=lambda: [3, 3, 9, 3])


@dataclass
class ConvNetConfig(ModelConfig):
    """`ConvNet`'s arguments."""

    _target_: str = "ecg_lightning.models.convnet.ConvNet"
    variant: str = field(default="resnet18d", metadata={"choices": ("resnet10t", "resnet18d", "resnet18", "repvgg_a0")})
    width: float = field(default=1.0, metadata={"above": 0.0})


@dataclass
class SignalModelConfig(ModelConfig):
    """`SignalClassifier`'s arguments, shared by every one-dimensional network."""

    takes: ClassVar[str] = "signal"

    window_s: float | None = field(default=None, metadata={"above": 0.0, "max": 10.0})  # null: the whole record
    stride_s: float | None = field(default=None, metadata={"above": 0.0, "max": 10.0})  # null: half a window
    aggregate: str = field(default="mean", metadata={"choices": ("mean", "max")})


@dataclass
class ResNet1dWangConfig(SignalModelConfig):
    """`ResNet1dWang`'s arguments."""

    _target_: str = "ecg_lightning.models.resnet1d_wang.ResNet1dWang"
    dropout: float = field(default=0.5, metadata={"min": 0.0, "max": 0.99})
    channels: int = field(default=128, metadata={"min": 1})
    blocks: list[int] = field(default_factory=lambda: [1, 1, 1])
    kernel_sizes: list[int] = field(default_factory=lambda: [5, 3])


@dataclass
class XResNet1dConfig(SignalModelConfig):
    """`XResNet1d`'s arguments."""

    _target_: str = "ecg_lightning.models.xresnet1d.XResNet1d"
    dropout: float = field(default=0.5, metadata={"min": 0.0, "max": 0.99})
    variant: str = field(default="101", metadata={"choices": ("18", "34", "50", "101")})
    width: float = field(default=1.0, metadata={"above": 0.0})
    kernel_size: int = field(default=5, metadata={"min": 1})


@dataclass
class Inception1dConfig(SignalModelConfig):
    """`Inception1d`'s arguments."""

    _target_: str = "ecg_lightning.models.inception1d.Inception1d"
    dropout: float = field(default=0.5, metadata={"min": 0.0, "max": 0.99})
    filters: int = field(default=32, metadata={"min": 1})
    bottleneck: int = field(default=32, metadata={"min": 1})
    depth: int = field(default=6, metadata={"min": 3})
    kernel_sizes: list[int] = field(default_factory=lambda: [39, 19, 9])


@dataclass
class LSTMConfig(SignalModelConfig):
    """`LSTM`'s arguments."""

    _target_: str = "ecg_lightning.models.lstm.LSTM"
    dropout: float = field(default=0.5, metadata={"min": 0.0, "max": 0.99})
    drop_path: float = field(default=0.0, metadata={"min": 0.0, "max": 0.0})  # it has no shortcut
    hidden: int = field(default=256, metadata={"min": 1})
    depth: int = field(default=2, metadata={"min": 1})
    bidirectional: bool = False
    ends: str = field(default="each", metadata={"choices": ("each", "last")})


@dataclass
class S4DConfig(SignalModelConfig):
    """`S4D`'s arguments."""

    _target_: str = "ecg_lightning.models.s4d.S4D"
    dropout: float = field(default=0.2, metadata={"min": 0.0, "max": 0.99})
    channels: int = field(default=256, metadata={"min": 1})
    depth: int = field(default=4, metadata={"min": 1})
    states: int = field(default=8, metadata={"min": 1})


@dataclass
class ViT1dConfig(SignalModelConfig):
    """`ViT1d`'s arguments."""

    _target_: str = "ecg_lightning.models.vit1d.ViT1d"
    patch_samples: int = field(default=20, metadata={"min": 1})
    patch_leads: int = field(default=12, metadata={"choices": (1, 2, 3, 4, 6, 12)})
    dim: int = field(default=256, metadata={"min": 1})
    depth: int = field(default=6, metadata={"min": 1})
    heads: int = field(default=4, metadata={"min": 1})
    mlp_ratio: float = field(default=4.0, metadata={"above": 0.0})
    stem: int = field(default=0, metadata={"min": 0, "max": 4})  # convolutions of stride 2 before the patches
    patch_drop: float = field(default=0.0, metadata={"min": 0.0, "max": 0.9})


@dataclass
class ResNet1dConfig(SignalModelConfig):
    """`ResNet1d`'s arguments."""

    _target_: str = "ecg_lightning.models.resnet1d.ResNet1d"
    channels: list[int] = field(default_factory=lambda: [32, 64, 128, 256])
    blocks: list[int] = field(default_factory=lambda: [1, 1, 1, 1])
    kernel_size: int = field(default=7, metadata={"min": 1})


@dataclass
class EnsembleConfig(ModelConfig):
    """`Ensemble`'s arguments."""

    takes: ClassVar[str] = "signal"

    _target_: str = "ecg_lightning.models.ensemble.Ensemble"
    # Nothing is trained, and the members are the weights.
    pretrained: bool = field(default=False, metadata={"choices": (False,)})
    dropout: float = field(default=0.0, metadata={"min": 0.0, "max": 0.0})
    drop_path: float = field(default=0.0, metadata={"min": 0.0, "max": 0.0})
    label_smoothing: float = field(default=0.0, metadata={"min": 0.0, "max": 0.0})
    class_weights: bool = field(default=False, metadata={"choices": (False,)})
    mixup: float = field(default=0.0, metadata={"min": 0.0, "max": 0.0})
    loss: str = field(default="bce", metadata={"choices": ("bce",)})
    members: list[str] = field(default_factory=list)  # checkpoints
    mc_dropout: int = field(default=0, metadata={"min": 0})  # passes of each member with its dropout on
    stride_s: float | None = field(default=None, metadata={"above": 0.0, "max": 10.0})  # null: as each was trained
    aggregate: str | None = field(default=None, metadata={"choices": ("mean", "max")})  # null: as each was trained


@dataclass
class StageConfig:
    """What every compression stage shares."""

    _target_: str = MISSING


@dataclass
class TrainedStageConfig(StageConfig):
    """A stage that fine-tunes; null: as in `compression.fine_tune`."""

    epochs: int | None = field(default=None, metadata={"min": 0})
    lr: float | None = field(default=None, metadata={"above": 0.0})


@dataclass
class BF16Config(StageConfig):
    """`BF16`'s arguments."""

    _target_: str = "ecg_lightning.compression.bf16.BF16"


@dataclass
class PruneL1Config(TrainedStageConfig):
    """`PruneL1`'s arguments."""

    _target_: str = "ecg_lightning.compression.prune_l1.PruneL1"
    amount: float = field(default=0.7, metadata={"min": 0.0, "max": 0.999})
    layers: list[str] = field(default_factory=lambda: ["conv", "linear"])
    scope: str = field(default="layer", metadata={"choices": ("layer", "global")})
    amounts: dict[str, float] = field(default_factory=dict)  # by the beginning of a layer's name
    steps: int = field(default=1, metadata={"min": 1})


@dataclass
class PruneStructuredConfig(TrainedStageConfig):
    """`PruneStructured`'s arguments."""

    _target_: str = "ecg_lightning.compression.prune_structured.PruneStructured"
    amount: float = field(default=0.5, metadata={"min": 0.0, "max": 0.95})
    # Channels: as many bf16 values as a row of AMX's tiles or two AVX-512 vectors hold.
    round_to: int = field(default=32, metadata={"min": 1})
    scope: str = field(default="layer", metadata={"choices": ("layer", "global")})
    steps: int = field(default=1, metadata={"min": 1})


@dataclass
class ActSwapConfig(TrainedStageConfig):
    """`ActSwap`'s arguments."""

    _target_: str = "ecg_lightning.compression.act_swap.ActSwap"
    activation: str = field(default="relu6", metadata={"choices": ("relu", "relu6", "hardswish")})


@dataclass
class DistillConfig(TrainedStageConfig):
    """`Distill`'s arguments."""

    _target_: str = "ecg_lightning.compression.distill.Distill"
    student: Any = MISSING  # a model
    epochs: int | None = field(default=30, metadata={"min": 0})  # of a training, not of a fine-tuning
    lr: float | None = field(default=1e-3, metadata={"above": 0.0})
    alpha: float = field(default=0.5, metadata={"min": 0.0, "max": 1.0})
    temperature: float = field(default=1.0, metadata={"above": 0.0})


@dataclass
class PTQConfig(StageConfig):
    """`PTQ`'s arguments."""

    _target_: str = "ecg_lightning.compression.ptq.PTQ"
    n_calibration: int = field(default=300, metadata={"min": 1})


@dataclass
class QATConfig(TrainedStageConfig):
    """`QAT`'s arguments."""

    _target_: str = "ecg_lightning.compression.qat.QAT"
    tool: str = field(default="auto", metadata={"choices": ("auto", "pt2e", "nncf")})
    n_calibration: int = field(default=128, metadata={"min": 1})


@dataclass
class FxQATConfig(TrainedStageConfig):
    """`FxQAT`'s arguments."""

    _target_: str = "ecg_lightning.compression.fx.FxQAT"
    backend: str = field(default="fbgemm", metadata={"choices": ("fbgemm", "x86")})


@dataclass
class FxStaticConfig(StageConfig):
    """`FxStatic`'s arguments."""

    _target_: str = "ecg_lightning.compression.fx.FxStatic"
    backend: str = field(default="fbgemm", metadata={"choices": ("fbgemm", "x86")})
    n_calibration: int = field(default=300, metadata={"min": 1})
    ranges: str = field(default="average", metadata={"choices": ("average", "histogram")})


@dataclass
class FxDynamicConfig(StageConfig):
    """`FxDynamic`'s arguments."""

    _target_: str = "ecg_lightning.compression.fx.FxDynamic"
    backend: str = field(default="fbgemm", metadata={"choices": ("fbgemm", "x86")})


@dataclass
class FineTuneConfig:
    """The fit inside a stage."""

    epochs: int = field(default=5, metadata={"min": 0})  # 0 measures the untuned effect
    lr: float = field(default=1e-4, metadata={"above": 0.0})
    weight_decay: float = field(default=0.01, metadata={"min": 0.0})
    warmup: float = field(default=0.1, metadata={"min": 0.0, "max": 1.0})
    alpha: float = field(
        default=0.5, metadata={"min": 0.0, "max": 1.0}
    )  # of the labels; the rest: the uncompressed model
    temperature: float = field(default=1.0, metadata={"above": 0.0})
    # Chooses start or best epoch. F1 at 0.5 would choose by calibration, which is redone after the stage anyway.
    monitor: str = field(default="val/auroc_macro", metadata={"choices": MONITORED})


@dataclass
class LatencyConfig:
    """How latency is measured, see `deployment.latency`."""

    batches: list[int] = field(default_factory=lambda: [1, 32])
    rounds: int = field(default=10, metadata={"min": 1})
    warmup: int = field(default=3, metadata={"min": 0})
    min_round_s: float = field(default=0.05, metadata={"min": 0.0})


@dataclass
class CompressionConfig:
    """The stages that follow the training, in order and by name, and how each one's result is measured."""

    stages: dict[str, Any] = field(default_factory=dict)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)
    margin: float = field(default=0.01, metadata={"min": 0.0, "max": 1.0})  # macro F1 that may be lost
    n_resamples: int = field(default=1000, metadata={"min": 100})  # of the bootstrap
    deploy: bool = True  # export the model and each stage's result, time and score them; false: training alone
    pt2: bool = False  # write PyTorch's own .pt2 files, too
    latency: LatencyConfig = field(default_factory=LatencyConfig)


@dataclass
class HardwareConfig:
    """Where and how a model runs; see `hardware.py`."""

    accelerator: str = field(default="cpu", metadata={"choices": ("cpu", "cuda")})
    devices: int = field(default=1, metadata={"min": 1})
    strategy: str = "auto"
    # auto: bf16-mixed where the processor has it in hardware
    precision: str = field(default="auto", metadata={"choices": ("auto", "32-true", "bf16-mixed")})
    threads: int | None = field(default=None, metadata={"min": 1})
    channels_last: bool = True
    compile: bool = False


@dataclass
class TrainerConfig:
    """The arguments of Lightning's Trainer that are commonly set; `extra` takes any other."""

    max_epochs: int = field(default=30, metadata={"min": 1})
    max_time: str | None = field(default=None, metadata={"pattern": (r"\d+:\d\d:\d\d:\d\d", "DD:HH:MM:SS")})
    gradient_clip_val: float | None = field(default=1.0, metadata={"min": 0.0})
    accumulate_grad_batches: int = field(default=1, metadata={"min": 1})
    limit_train_batches: Any = field(default=None, metadata={"batches": True})
    limit_val_batches: Any = field(default=None, metadata={"batches": True})
    limit_test_batches: Any = field(default=None, metadata={"batches": True})
    overfit_batches: Any = field(default=0, metadata={"batches": True})
    fast_dev_run: Any = field(default=False, metadata={"batches": True})
    log_every_n_steps: int = field(default=25, metadata={"min": 1})
    profiler: str | None = field(default=None, metadata={"choices": ("simple", "advanced", "pytorch")})
    detect_anomaly: bool = False
    deterministic: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class EarlyStoppingConfig:
    """Stop when the monitored metric no longer improves."""

    monitor: str = field(default="${monitor}", metadata={"choices": (*MONITORED, "val/loss")})
    mode: str = field(default="max", metadata={"choices": ("min", "max")})
    patience: int = field(default=10, metadata={"min": 0})
    min_delta: float = 0.0


@dataclass
class CallbacksConfig:
    """Callbacks; `extra` takes more, by name, each with a `_target_` from Lightning or this package."""

    early_stopping: EarlyStoppingConfig | None = None
    collapse_guard: bool = True
    figures: bool = True
    snapshots: int = field(default=0, metadata={"min": 0})  # checkpoints kept along the way, evenly
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class PathsConfig:
    """Where a run's files go."""

    output_dir: str = MISSING


@dataclass
class TrainConfig:
    """The root of `conf/train.yaml`."""

    task_name: str = "train"
    train: bool = True
    test: bool = True
    for_model: str | None = None  # an experiment's: the one model that its settings are for
    ckpt_path: str | None = None
    seed: int = field(default=0, metadata={"min": 0, "max": 2**32 - 1})
    monitor: str = field(default="val/f1_macro", metadata={"choices": MONITORED})
    scored_epoch: str = field(default="best", metadata={"choices": ("best", "last")})
    n_tried: int = field(default=1, metadata={"min": 1})  # configurations that this one was chosen among
    cross_validation: list[Any] | None = None  # folds of data.train_folds, or groups of them, each held out once
    data: DataConfig = field(default_factory=DataConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    compression: CompressionConfig = field(default_factory=CompressionConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: dict[str, Any] = field(default_factory=dict)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class CompressConfig:
    """The root of `conf/compress.yaml`."""

    task_name: str = "compress"
    ckpt_path: str | None = None
    seed: int = field(default=0, metadata={"min": 0, "max": 2**32 - 1})
    monitor: str = field(default="val/auroc_macro", metadata={"choices": MONITORED})
    data: Any = field(default_factory=dict)  # CheckpointDataConfig, or a DataConfig
    compression: CompressionConfig = field(default_factory=CompressionConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: dict[str, Any] = field(default_factory=dict)
    paths: PathsConfig = field(default_factory=PathsConfig)


SCHEMAS: dict[str, dict[str, type]] = {
    "data": {"ptbxl": DataConfig, "synthetic": SyntheticConfig, "checkpoint": CheckpointDataConfig},
    "frontend": {"signal": FrontendConfig, "matrix": MatrixConfig, "strips": StripsConfig},
    "model": {
        "vit": ViTConfig,
        "deit": DeiTConfig,
        "effnetv2": EffNetV2Config,
        "convnext": ConvNeXtConfig,
        "convnet": ConvNetConfig,
        "resnet1d": ResNet1dConfig,
        "ensemble": EnsembleConfig,
        "resnet1d_wang": ResNet1dWangConfig,
        "xresnet1d": XResNet1dConfig,
        "inception1d": Inception1dConfig,
        "lstm": LSTMConfig,
        "s4d": S4DConfig,
        "vit1d": ViT1dConfig,
    },
    "stage": {
        "bf16": BF16Config,
        "prune_l1": PruneL1Config,
        "prune_structured": PruneStructuredConfig,
        "act_swap": ActSwapConfig,
        "distill": DistillConfig,
        "ptq": PTQConfig,
        "qat": QATConfig,
        "fx_qat": FxQATConfig,
        "fx_static": FxStaticConfig,
        "fx_dynamic": FxDynamicConfig,
    },
}
"""Schemas of the groups whose options differ in shape; an option's YAML names its own under `/schema/GROUP`."""


@functools.cache
def register() -> None:
    """Tell Hydra the schemas, and let it compose with the checks of `safe_composition`."""
    from hydra.core.config_store import ConfigStore

    from ecg_lightning import safe_composition

    safe_composition.install()
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="compress_schema", node=CompressConfig)
    for group, options in SCHEMAS.items():
        for name, schema in options.items():
            store.store(group=f"schema/{group}", name=name, node=schema)


def plain(node: Any) -> dict[str, Any]:
    """A configuration node as Python's own types, its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))


def did_you_mean(wrong: str, known: list[str]) -> str:
    """` Did you mean …?`, or nothing."""
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""


def leaf_keys() -> list[str]:
    """Return the dotted keys of all settings of a training, whatever options are chosen."""
    keys: dict[str, None] = {}
    for entry in dataclasses.fields(TrainConfig):
        for schema in SCHEMAS.get(entry.name, {"": typing.get_type_hints(TrainConfig)[entry.name]}).values():
            keys |= dict.fromkeys(_keys_in(schema, entry.name))
    return [*keys]


def _keys_in(schema: Any, key: str) -> Iterator[str]:
    kinds = [one for one in (schema, *typing.get_args(schema)) if dataclasses.is_dataclass(one)]
    if not kinds:
        yield key
        return
    hints = typing.get_type_hints(kinds[0])
    for entry in dataclasses.fields(kinds[0]):
        if not entry.name.startswith("_"):
            yield from _keys_in(hints[entry.name], f"{key}.{entry.name}")


def image_size(size: Any, multiple: int = 1) -> tuple[int, int]:
    """(height, width) in pixels from `frontend.size`, each moved to the nearest multiple (half goes up)."""
    height, width = (size, size) if isinstance(size, int) else size
    return _nearest(height, multiple), _nearest(width, multiple)


def _nearest(pixels: int, multiple: int) -> int:
    return max(multiple, (2 * pixels + multiple) // (2 * multiple) * multiple)


def config_dir() -> Path:
    """The `conf/` folder: a checkout's, else the copy in the installed package."""
    packaged = Path(__file__).with_name("conf")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"
