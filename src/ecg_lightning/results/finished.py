"""The outcome of a run, read from its folder."""

from __future__ import annotations

from pathlib import Path

from ecg_lightning.results.results import HYDRA_SWEEP_FILE, RESULT_FILE, SWEEP_FILE, read_result


def status_of(folder: Path) -> str | None:
    """Return the status of the run in a folder, or None if it has no result."""
    return read_result(folder).get("status") if (folder / RESULT_FILE).exists() else None


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds the result of a run that finished."""
    return status_of(folder) == "ok"


def holds_sweep(folder: Path) -> bool:
    """Return whether a folder belongs to a sweep. The sweep's table would count a run in it as one of its cells."""
    return any((folder / name).is_file() for name in (SWEEP_FILE, HYDRA_SWEEP_FILE))


def has_checkpoints(folder: Path) -> bool:
    """Return whether a folder holds checkpoints of a training, or of a training of a cross-validation."""
    return any(any(folder.glob(pattern)) for pattern in ("checkpoints/last.ckpt", "fold*/checkpoints/last.ckpt"))
