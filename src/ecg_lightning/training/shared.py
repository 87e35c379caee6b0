"""Trainings that cells of a sweep share: gone on with where they stopped, and not tried again in vain."""

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
    """Return the `ckpt_path` with which a training starts anew, or goes on with what is in its folder."""
    return "auto" if has_checkpoints(run) else None


def keep_refused(folder: Path, error: errors.UserError) -> None:
    """Write down why a training cannot be, for the other cells of this sweep; a full disk may have room for them."""
    if is_full(error):
        return
    content = {"error": type(error).__name__, "reason": str(error)}
    (folder / _REFUSED_FILE).write_text(json.dumps(content) + "\n")


def raise_refused(folder: Path) -> None:
    """Refuse a training as it was refused to the first cell that asked for it.

    Raises:
        UserError: the same as there.
    """
    if (folder / _REFUSED_FILE).is_file():
        content = json.loads((folder / _REFUSED_FILE).read_text(encoding="utf-8"))
        raise _CLASSES.get(content["error"], errors.UserError)(content["reason"])


def forget_refused(sweep: Path) -> None:
    """Let the next cells try again what was refused to an earlier command."""
    for path in sweep.glob(f"trainings/*/{_REFUSED_FILE}"):
        path.unlink(missing_ok=True)
