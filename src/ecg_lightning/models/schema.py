"""Settings of the architectures, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ecg_lightning.components.setting import MISSING, kind, setting, with_default
from ecg_lightning.components.trust import check_reference
from ecg_lightning.errors import ConfigError
from ecg_lightning.learning.schema import OptimizerConfig, SchedulerConfig, TeachingConfig

_DROPPED = {"min": 0.0, "max": 0.99}
_PATCHES = {"min": 0.0, "max": 0.9}
_SECONDS = {"above": 0.0, "max": 10.0}  # a record has ten
_AT_LEAST_1 = {"min": 1}


@dataclass
class ModelConfig:
    """Settings of any option of the group `model`."""

    takes: ClassVar[str] = "image"
    """Output that the model needs from its front end: `image`, `signal` or `any`."""

    kind: str = setting(MISSING, "name of the component")

    def check(self, key: str) -> None:
        """Refuse settings that bounds alone cannot. By default, there are none.

        Args:
            key: the settings' own key: `model`, or that of a student.

        Raises:
            ConfigError: names the key, its value and how to fix it.
        """


@dataclass
class NetworkConfig(TeachingConfig, ModelConfig):
    """Settings that all trained networks share."""

    pretrained: bool = setting(False, "whether to start from published ImageNet weights")
    weights: str | None = setting(None, "FILE: a checkpoint or a file of weights to start from")
    teacher: Any = setting(None, "FILE, or folders of cross-validations, [DIR,DIR]: a teacher to learn from")
    dropout: float = setting(0.0, "dropout before the classifier", **_DROPPED)
    drop_path: float = setting(0.0, "stochastic depth of the last block, rising linearly from 0", **_DROPPED)
    loss: str = setting("bce", "loss of the labels", choices=("bce", "asymmetric", "argmax_cross_entropy"))
    label_smoothing: float = setting(0.0, "how far the labels are moved to one half", min=0.0, max=0.9)
    class_weights: bool = setting(False, "whether positives weigh as many times as negatives are more frequent")
    mixup: float = setting(0.0, "α of mixup; 0: none", min=0.0)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)

    def check(self, key: str) -> None:
        """Refuse settings of a teacher that has no name, and a schedule that cannot work."""
        for entry in fields(TeachingConfig) if self.teacher is None else ():
            if (value := getattr(self, entry.name)) != entry.default:
                raise ConfigError(
                    f"{key}.{entry.name}={value} only applies with a teacher. Set {key}.teacher=FILE, or remove it"
                )
        named = self.teacher if isinstance(self.teacher, list) else [self.teacher]
        if self.teacher is not None and not (named and all(isinstance(one, str) and one for one in named)):
            raise ConfigError(
                f"{key}.teacher={self.teacher}: name a checkpoint, or folders of cross-validations, [DIR,DIR]"
            )
        self.scheduler.check(f"{key}.scheduler")


@dataclass
class ViTConfig(NetworkConfig):
    """Vision transformer on an image, see `models.vit`."""

    target: ClassVar[str] = "ecg_lightning.models.vit.ViT"
    kind: str = kind("vit")
    dropout: float = setting(0.1, "dropout of tokens and in the MLPs", **_DROPPED)
    patch_size: int = setting(8, "pixels of a square patch's side", **_AT_LEAST_1)
    dim: int = setting(256, "width of a token", **_AT_LEAST_1)
    depth: int = setting(6, "number of blocks", **_AT_LEAST_1)
    heads: int = setting(4, "number of attention heads", **_AT_LEAST_1)
    mlp_dim: int = setting(1024, "width of the hidden layer of a block's MLP", **_AT_LEAST_1)
    attention_dropout: float = setting(
        0.0, "dropout of attention weights; above 0 it costs the fast attention kernel", **_DROPPED
    )
    patch_drop: float = setting(0.0, "share of the patches that a training step leaves out", **_PATCHES)


@dataclass
class DeiTConfig(NetworkConfig):
    """DeiT with a distillation token and head, see `models.deit`."""

    target: ClassVar[str] = "ecg_lightning.models.deit.DeiT"
    kind: str = kind("deit")
    dropout: float = setting(0.0, "dropout of tokens and in the MLPs", **_DROPPED)
    drop_path: float = with_default(NetworkConfig, "drop_path", 0.1)
    variant: str = setting("tiny", "published size", choices=("tiny", "small", "base"))
    patch_size: int = setting(16, "pixels of a square patch's side", **_AT_LEAST_1)
    dim: int | None = setting(None, "width of a token; null: the variant's", **_AT_LEAST_1)
    depth: int | None = setting(None, "number of blocks; null: the variant's", **_AT_LEAST_1)
    heads: int | None = setting(None, "number of attention heads; null: the variant's", **_AT_LEAST_1)
    attention_dropout: float = setting(
        0.0, "dropout of attention weights; above 0 it costs the fast attention kernel", **_DROPPED
    )
    patch_drop: float = setting(0.0, "share of the patches that a training step leaves out", **_PATCHES)


@dataclass
class EffNetV2Config(NetworkConfig):
    """EfficientNetV2-S, see `models.effnetv2`."""

    target: ClassVar[str] = "ecg_lightning.models.effnetv2.EffNetV2"
    kind: str = kind("effnetv2")
    dropout: float = with_default(NetworkConfig, "dropout", 0.2)
    drop_path: float = with_default(NetworkConfig, "drop_path", 0.2)
    width: float = setting(1.0, "factor on the channels, rounded to 8; 1: the published network", above=0.0)
    depth: float = setting(1.0, "factor on a stage's layers, rounded up; 1: the published network", above=0.0)


@dataclass
class ConvNeXtConfig(NetworkConfig):
    """ConvNeXt-Tiny, see `models.convnext`."""

    target: ClassVar[str] = "ecg_lightning.models.convnext.ConvNeXt"
    kind: str = kind("convnext")
    drop_path: float = with_default(NetworkConfig, "drop_path", 0.1)
    channels: list[int] = setting([96, 192, 384, 768], "width of each of the four stages")
    blocks: list[int] = setting([3, 3, 9, 3], "number of blocks of each stage")


@dataclass
class ConvNetConfig(NetworkConfig):
    """3 × 3 convolutions and ReLU, see `models.convnet`."""

    target: ClassVar[str] = "ecg_lightning.models.convnet.ConvNet"
    kind: str = kind("convnet")
    variant: str = setting(
        "resnet18d", "published network", choices=("resnet10t", "resnet18d", "resnet18", "repvgg_a0")
    )
    width: float = setting(1.0, "factor on the channels, rounded to 8; 1: the published network", above=0.0)


@dataclass
class TimmConfig(NetworkConfig):
    """Any image network of timm by its name, see `models.timm_model`."""

    target: ClassVar[str] = "ecg_lightning.models.timm_model.TimmModel"
    kind: str = kind("timm")
    name: str = setting("", "timm's name of the network, such as resnet50; resnet50.a1_in1k also chooses its weights")
    arguments: dict[str, Any] = setting({}, "further arguments of the network, by timm's names")


@dataclass
class SignalNetworkConfig(NetworkConfig):
    """Settings that all one-dimensional networks share."""

    takes: ClassVar[str] = "signal"

    window_s: float | None = setting(None, "seconds that the network sees at a time; null: the record", **_SECONDS)
    stride_s: float | None = setting(None, "seconds from one window to the next; null: half a window", **_SECONDS)
    aggregate: str = setting("mean", "how the windows' probabilities are combined", choices=("mean", "max"))

    def check(self, key: str) -> None:
        """Refuse windows that leave out parts of a record."""
        super().check(key)
        if self.window_s and self.stride_s and self.stride_s > self.window_s:
            raise ConfigError(
                f"{key}.stride_s={self.stride_s} skips parts of a record between windows of "
                f"{key}.window_s={self.window_s} seconds. Set {key}.stride_s to at most {self.window_s}"
            )


@dataclass
class ResNet1dConfig(SignalNetworkConfig):
    """Small residual network on the signal, see `models.resnet1d`."""

    target: ClassVar[str] = "ecg_lightning.models.resnet1d.ResNet1d"
    kind: str = kind("resnet1d")
    channels: list[int] = setting([32, 64, 128, 256], "width of each stage; each stage but the first halves the length")
    blocks: list[int] = setting([1, 1, 1, 1], "number of blocks of each stage")
    kernel_size: int = setting(7, "samples that a convolution spans, odd", **_AT_LEAST_1)


@dataclass
class ResNet1dWangConfig(SignalNetworkConfig):
    """resnet1d_wang of the PTB-XL benchmark, see `models.resnet1d_wang`."""

    target: ClassVar[str] = "ecg_lightning.models.resnet1d_wang.ResNet1dWang"
    kind: str = kind("resnet1d_wang")
    dropout: float = setting(0.5, "dropout before the head's last layer; half as much before its first", **_DROPPED)
    channels: int = setting(128, "width of every layer", **_AT_LEAST_1)
    blocks: list[int] = setting([1, 1, 1], "number of blocks of each stage; each stage but the first halves the length")
    kernel_sizes: list[int] = setting([5, 3], "samples that a block's two convolutions span, odd")


@dataclass
class XResNet1dConfig(SignalNetworkConfig):
    """xresnet1d of the PTB-XL benchmark, see `models.xresnet1d`."""

    target: ClassVar[str] = "ecg_lightning.models.xresnet1d.XResNet1d"
    kind: str = kind("xresnet1d")
    dropout: float = setting(0.5, "dropout before the head's last layer; half as much before its first", **_DROPPED)
    variant: str = setting("101", "number of layers", choices=("18", "34", "50", "101"))
    width: float = setting(1.0, "factor on the channels", above=0.0)
    kernel_size: int = setting(5, "samples that a convolution spans, odd", **_AT_LEAST_1)


@dataclass
class Inception1dConfig(SignalNetworkConfig):
    """InceptionTime of the PTB-XL benchmark, see `models.inception1d`."""

    target: ClassVar[str] = "ecg_lightning.models.inception1d.Inception1d"
    kind: str = kind("inception1d")
    dropout: float = setting(0.5, "dropout before the head's last layer; half as much before its first", **_DROPPED)
    filters: int = setting(32, "width of each of a block's four branches", **_AT_LEAST_1)
    bottleneck: int = setting(32, "number of channels that the long convolutions see", **_AT_LEAST_1)
    depth: int = setting(6, "number of blocks, a multiple of 3, because a shortcut spans three", min=3)
    kernel_sizes: list[int] = setting([39, 19, 9], "samples that the long convolutions span, odd")


@dataclass
class LSTMConfig(SignalNetworkConfig):
    """LSTM of the PTB-XL benchmark, see `models.lstm`."""

    target: ClassVar[str] = "ecg_lightning.models.lstm.LSTM"
    kind: str = kind("lstm")
    dropout: float = setting(0.5, "dropout before the head's last layer; half as much before its first", **_DROPPED)
    drop_path: float = setting(0.0, "always 0, because an LSTM has no shortcut", min=0.0, max=0.0)
    hidden: int = setting(256, "width of each direction", **_AT_LEAST_1)
    depth: int = setting(2, "number of layers", **_AT_LEAST_1)
    bidirectional: bool = setting(False, "whether a second direction reads backwards")
    ends: str = setting(
        "each", "state besides mean and maximum: each direction's end, or the last sample", choices=("each", "last")
    )


@dataclass
class S4DConfig(SignalNetworkConfig):
    """Bidirectional diagonal state spaces, see `models.s4d`."""

    target: ClassVar[str] = "ecg_lightning.models.s4d.S4D"
    kind: str = kind("s4d")
    dropout: float = setting(0.2, "dropout of whole channels after each block's state space", **_DROPPED)
    channels: int = setting(256, "width of every block", **_AT_LEAST_1)
    depth: int = setting(4, "number of blocks", **_AT_LEAST_1)
    states: int = setting(8, "number of complex states of each channel and direction", **_AT_LEAST_1)


@dataclass
class ViT1dConfig(SignalNetworkConfig):
    """Vision transformer on the signal, see `models.vit1d`."""

    target: ClassVar[str] = "ecg_lightning.models.vit1d.ViT1d"
    kind: str = kind("vit1d")
    dropout: float = setting(0.0, "dropout of tokens and in the MLPs", **_DROPPED)
    patch_samples: int = setting(20, "samples of a patch", **_AT_LEAST_1)
    patch_leads: int = setting(12, "leads of a patch", choices=(1, 2, 3, 4, 6, 12))
    dim: int = setting(256, "width of a token", **_AT_LEAST_1)
    depth: int = setting(6, "number of blocks", **_AT_LEAST_1)
    heads: int = setting(4, "number of attention heads", **_AT_LEAST_1)
    mlp_ratio: float = setting(4.0, "width of the hidden layer of a block's MLP, in widths of a token", above=0.0)
    stem: int = setting(0, "number of convolutions of stride 2 over all leads before the patches", min=0, max=4)
    patch_drop: float = setting(0.0, "share of the patches that a training step leaves out", **_PATCHES)


@dataclass
class CustomConfig(NetworkConfig):
    """Your own network, see `models.custom`."""

    takes: ClassVar[str] = "any"

    target: ClassVar[str] = "ecg_lightning.models.custom.Custom"
    kind: str = kind("custom")
    dropout: float = setting(0.0, "always 0, because your function makes all layers", min=0.0, max=0.0)
    drop_path: float = setting(0.0, "always 0, because your function makes all layers", min=0.0, max=0.0)
    network: str = setting("", "package.module:function that makes the network; ECG_LIGHTNING_TRUST names the package")
    arguments: dict[str, Any] = setting({}, "keyword arguments of the function, by name")

    def check(self, key: str) -> None:
        """Refuse a network that has no name, or whose package is not trusted. The package is not imported."""
        super().check(key)
        if not self.network:
            raise ConfigError(
                f"model=custom needs {key}.network=package.module:function, which makes your network. Set it"
            )
        check_reference(self.network, f"{key}.network")


@dataclass
class EnsembleConfig(ModelConfig):
    """Average of trained models, see `models.ensemble`."""

    takes: ClassVar[str] = "signal"

    target: ClassVar[str] = "ecg_lightning.models.ensemble.Ensemble"
    kind: str = kind("ensemble")
    members: list[str] = setting([], "the checkpoints to average, [FILE,FILE]")
    mc_dropout: int = setting(0, "passes of each member with its dropout on; 0: one pass without", min=0)
    stride_s: float | None = setting(
        None, "seconds from one window to the next; null: as each member was trained", **_SECONDS
    )
    aggregate: str | None = setting(
        None, "how the windows' probabilities are combined; null: as each member was trained", choices=("mean", "max")
    )
