"""Training and compression from Python, with the command line's settings."""

from __future__ import annotations

from ecg_lightning.commands import launching
from ecg_lightning.results.results import RunResult


def train(*overrides: str) -> RunResult:
    """Train one model, as `ecg-lightning train` does, and return the content of `result.json`.

    Examples:
        >>> from ecg_lightning import load, train
        >>> result = train("experiment=demo", "model=vit", "seed=1")
        >>> print(result)
        >>> model = load(result.folder)

    Args:
        *overrides: the command line's settings, one each. `hydra.run.dir=DIR` names the folder of the run.

    Raises:
        UserError: a mistake in the settings, the data or a file, in one sentence.
    """
    return launching.run_once("train", overrides)


def compress(*overrides: str) -> RunResult:
    """Compress a trained model, as `ecg-lightning compress` does, and return the content of `result.json`.

    Examples:
        >>> from ecg_lightning import compress, load
        >>> result = compress("ckpt_path=RUN/checkpoints/best.ckpt", "compression=ptq")
        >>> for variant in result.variants:
        ...     print(variant["name"], variant["size"]["bytes"], variant["metrics"]["test"]["auroc_macro"])
        >>> model = load(result.folder / "variants/quantize/onnxruntime.onnx")

    Args:
        *overrides: settings as for `train`. `ckpt_path=FILE` names the checkpoint.

    Raises:
        UserError: a mistake in the settings, the data or a file, in one sentence.
    """
    return launching.run_once("compress", overrides)
