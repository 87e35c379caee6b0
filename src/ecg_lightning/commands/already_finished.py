"""A check whether a command has anything left to do in the folder of a finished run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ecg_lightning.results.finished import is_finished
from ecg_lightning.results.recipes import changed_settings
from ecg_lightning.results.results import read_config, read_result
from ecg_lightning.training.schema import TrainingConfig

_MAX_EPOCHS = "trainer.max_epochs"


def already_finished(settings: TrainingConfig, folder: Path) -> str | None:
    """Return why a command has nothing left to do in the folder of a finished run, or None if it has something to do.

    Args:
        settings: settings of the command.
        folder: folder of the run.
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
