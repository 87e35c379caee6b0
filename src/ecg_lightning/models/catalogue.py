"""The networks that `model=NAME` chooses, for `ecg-lightning models`; without PyTorch, so that it answers at once.

Numbers are those of the default settings, five classes and 10 s at 100 Hz; a test builds each network and compares.
"""

from __future__ import annotations

from typing import NamedTuple


class Network(NamedTuple):
    """A network in its default size.

    Attributes:
        name: as `model=NAME` takes it.
        parameters: trained numbers.
        input: shape of what the network sees of one record, without the batch.
        about: what it is, in a few words.
    """

    name: str
    parameters: int
    input: tuple[int, ...]
    about: str


_SIGNAL = (12, 1000)
_IMAGE = (1, 64, 512)

NETWORKS = (
    Network("xresnet1d18", 364_933, _SIGNAL, "XResNet, 18 layers"),
    Network("resnet1d_wang", 473_349, _SIGNAL, "residual network of Wang et al."),
    Network("inception1d", 507_653, _SIGNAL, "InceptionTime"),
    Network("s4d", 602_117, _SIGNAL, "diagonal state space model"),
    Network("lstm", 903_685, _SIGNAL, "LSTM"),
    Network("xresnet1d50", 953_989, _SIGNAL, "XResNet, 50 layers"),
    Network("resnet1d", 967_365, _SIGNAL, "plain residual network"),
    Network("xresnet1d101", 1_872_261, _SIGNAL, "XResNet, 101 layers"),
    Network("lstm_bidir", 2_330_629, _SIGNAL, "LSTM in both directions"),
    Network("vit1d", 4_814_853, _SIGNAL, "transformer on patches of the signal"),
    Network("vit", 4_888_069, _IMAGE, "vision transformer"),
    Network("resnet10t", 4_924_621, _IMAGE, "ResNet, 10 layers"),
    Network("deit", 5_415_370, _IMAGE, "DeiT-Tiny, with a distillation head"),
    Network("repvgg_a0", 7_833_413, _IMAGE, "RepVGG-A0"),
    Network("resnet18d", 11_197_733, _IMAGE, "ResNet, 18 layers"),
    Network("effnetv2", 20_183_461, _IMAGE, "EfficientNetV2-S"),
    Network("convnext", 27_820_901, _IMAGE, "ConvNeXt-Tiny"),
    Network("deit_base", 85_362_442, _IMAGE, "DeiT-Base, with a distillation head"),
)
"""The smallest first. `model=ensemble`, which averages trained ones, has no parameters of its own."""
