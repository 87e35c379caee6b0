"""Read from a run's folder whether the run is finished, and whether a command has anything left to do there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ecg_lightning.runs.recipes import changed_settings
from ecg_lightning.runs.results import HYDRA_SWEEP_FILE, RESULT_FILE, SWEEP_FILE, read_config, read_result
from ecg_lightning.training_schema import TrainingSettings

_MAX_EPOCHS = "trainer.max_epochs"


def status_of(folder: Path) -> str | None:
    """Return the status of the run in a folder; None where it has no result."""
    return read_result(folder).get("status") if (folder / RESULT_FILE).exists() else None


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds the result of a run that came to its end."""
    return status_of(folder) == "ok"


def holds_sweep(folder: Path) -> bool:
    """Return whether a folder is a sweep's, whose table would take a run in it for one of its cells."""
    return any((folder / name).is_file() for name in (SWEEP_FILE, HYDRA_SWEEP_FILE))


def has_checkpoints(folder: Path) -> bool:
    """Return whether a folder holds checkpoints of a training, or of one of a cross-validation's."""
    return any(any(folder.glob(pattern)) for pattern in ("checkpoints/last.ckpt", "fold*/checkpoints/last.ckpt"))


def nothing_left(settings: TrainingSettings, folder: Path) -> str | None:
    """Return the sentence that a finished run needs nothing more from a command that would go on with it, else None.

    Args:
        settings: what the command asks for.
        folder: of the run.
    """
    if settings.ckpt_path not in ("last", "auto") or not is_finished(folder):
        return None
    there, asked = read_config(folder), asdict(settings)
    if there.get("train") != asked["train"] or (asked["test"] and not there.get("test")):
        return None
    changed = changed_settings(there, asked)
    if not changed:
        return f"nothing is left to do: the run in {folder} is finished, with these settings"
    if changed != [_MAX_EPOCHS] or asked["cross_validation"]:
        return None
    done = int((read_result(folder).get("timing") or {}).get("epochs", 0))
    if done >= settings.trainer.max_epochs:
        return (
            f"nothing is left to train: the run in {folder} has trained {done} epochs, and "
            f"trainer.max_epochs={settings.trainer.max_epochs}. To train fewer epochs, start again in another folder"
        )
    stopped_early = done < (there.get("trainer") or {}).get("max_epochs", 0) and not settings.trainer.max_time
    if stopped_early and settings.callbacks.early_stopping is not None:
        return f"nothing is left to train: early stopping ended the training after epoch {done} in {folder}"
    return None
