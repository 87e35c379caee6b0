"""A quick check of the files that a configuration names. Wrong files are refused before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecg_lightning.errors import CheckpointError, ConfigError

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def check_named_files(settings: Any) -> None:
    """Refuse checkpoints and weights that do not exist, or whose first bytes are not those of such a file.

    Args:
        settings: a `TrainConfig` or a `CompressConfig`, or the configuration node that becomes one.

    Raises:
        ConfigError: `model=ensemble` has no members.
        CheckpointError: names the key, the file and what is wrong with it.
    """
    is_trained = getattr(settings, "train", False)
    if is_trained and hasattr(settings.model, "members") and not settings.model.members:
        raise ConfigError(
            "model=ensemble without model.members: name the checkpoints that it averages, as in "
            "model.members=[RUN1/checkpoints/best.ckpt,RUN2/checkpoints/best.ckpt]"
        )
    for key, value in _named(settings, is_trained):
        _check(key, value)


def _named(settings: Any, is_trained: bool) -> Iterator[tuple[str, str]]:
    if settings.ckpt_path not in (None, "last", "auto"):
        yield "ckpt_path", str(settings.ckpt_path)
    if not is_trained:
        return
    for name in ("weights", "teacher", "members"):
        value: Any = getattr(settings.model, name, None)
        for one in [value] if value is None or isinstance(value, str) else value:
            if one is not None:
                yield f"model.{name}", str(one)


def _check(key: str, value: str) -> None:
    path = Path(value).expanduser()
    wanted = "Name a checkpoint, such as RUN/checkpoints/best.ckpt"
    if key == "model.weights":
        wanted = "Name a file of weights: .safetensors, a PyTorch state dict, or a checkpoint"
    if path.is_dir():
        if key == "model.teacher":  # a cross-validation
            return
        if (best := path / "checkpoints" / "best.ckpt").is_file():
            raise CheckpointError(f"{key}={value} is the folder of a run. Name its checkpoint: {key}={best}")
        raise CheckpointError(f"{key}={value} is a folder. {wanted}")
    if not path.is_file():
        raise CheckpointError(f"{key}={value} is not there. {wanted}")
    if path.suffix == ".safetensors" and key == "model.weights":
        return
    try:
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{key}={value} cannot be read: {error.strerror}") from None
    is_old_pickle = key == "model.weights" and begin.startswith(_PICKLE)
    if begin != _ZIP and not is_old_pickle:
        if path.suffix in (".onnx", ".xml", ".bin"):
            raise CheckpointError(f"{key}={value} is an exported model. Name the checkpoint that it was made from")
        kind = "holds no weights" if key == "model.weights" else "is no checkpoint"
        raise CheckpointError(f"{key}={value} {kind}. {wanted}")
