"""Trainings that cells of a sweep share. A cell resumes one that stopped, and does not retry a refused one."""

from __future__ import annotations

import json
from pathlib import Path

from ecg_lightning import errors
from ecg_lightning.results.finished import has_checkpoints
from ecg_lightning.system.disk import is_full

_REFUSED_FILE = "refused.json"
_CLASSES = {
    name: one for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.UserError)
}


def start_or_go_on(run: Path) -> str | None:
    """Return the `ckpt_path` that starts a new training, or resumes the one in its folder."""
    return "auto" if has_checkpoints(run) else None


def keep_refused(folder: Path, error: errors.UserError) -> None:
    """Write down why a training was refused, for the other cells of this sweep.

    A full disk is not written down, because it may have room for the next cell.
    """
    if is_full(error):
        return
    content = {"error": type(error).__name__, "reason": str(error)}
    (folder / _REFUSED_FILE).write_text(json.dumps(content) + "\n")


def raise_refused(folder: Path) -> None:
    """Refuse a training for the same reason as for the first cell that asked for it.

    Raises:
        UserError: the error of the first cell.
    """
    if (folder / _REFUSED_FILE).is_file():
        content = json.loads((folder / _REFUSED_FILE).read_text(encoding="utf-8"))
        raise _CLASSES.get(content["error"], errors.UserError)(content["reason"])


def forget_refused(sweep: Path) -> None:
    """Remove the refusals of an earlier command, so that the next cells try again."""
    for path in sweep.glob(f"trainings/*/{_REFUSED_FILE}"):
        path.unlink(missing_ok=True)
