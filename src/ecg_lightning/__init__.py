"""ECG-Lightning: PTB-XL ECGs to a small, fast, honestly measured classifier.

Modules are imported at their first use. `import ecg_lightning` takes milliseconds, and prediction needs no PyTorch.
"""

from typing import TYPE_CHECKING, Any

from ecg_lightning.version import __version__

if TYPE_CHECKING:
    from ecg_lightning.commands.python_api import compress, train
    from ecg_lightning.data.datamodule import PTBXLDataModule
    from ecg_lightning.deployment.predictor import Predictor, load
    from ecg_lightning.errors import UserError

__all__ = ["PTBXLDataModule", "Predictor", "UserError", "__version__", "compress", "load", "train"]

_MODULES = {
    "PTBXLDataModule": "ecg_lightning.data.datamodule",
    "Predictor": "ecg_lightning.deployment.predictor",
    "UserError": "ecg_lightning.errors",
    "compress": "ecg_lightning.commands.python_api",
    "load": "ecg_lightning.deployment.predictor",
    "train": "ecg_lightning.commands.python_api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from ecg_lightning.system.installed import needing

    with needing("train", f"ecg_lightning.{name}"):
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
