"""The ledger of test scorings. It lies beside a checkpoint and holds a line for each scoring of the test folds."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ecg_lightning.results.results import git_revision

log = logging.getLogger(__name__)

LEDGER_FILE = "test_scored.csv"
_COLUMNS = ("time", "checkpoint", "test_folds", "n_records", "run", "git")


def record_scoring(
    checkpoint: Path,
    folds: Sequence[int],
    n_records: int,
    run: Path,
    members: Sequence[Path] = (),
    *,
    is_new: bool = False,
) -> None:
    """Add a line to the ledger of a checkpoint, and to those of an ensemble's members.

    If a folder cannot be written to, only the log records the scoring.

    Args:
        checkpoint: the checkpoint that was scored.
        folds: the test folds.
        n_records: the number of records that were scored.
        run: the folder of the result.
        members: the checkpoints that an ensemble averages. Those that still exist get a line.
        is_new: whether the checkpoint was just trained. Older lines then belong to a checkpoint that it replaced.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rest = (" ".join(map(str, folds)), n_records, run.absolute(), git_revision() or "")
    for scored in (checkpoint, *(member for member in members if member.is_file())):
        _add(scored.parent / LEDGER_FILE, (now, scored.name, *rest), begins=is_new and scored == checkpoint)


def _add(ledger: Path, row: Sequence[object], *, begins: bool) -> None:
    try:
        begins = begins or not ledger.exists()
        with ledger.open("w" if begins else "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_COLUMNS, row] if begins else [row])
    except OSError as error:
        log.warning("%s cannot be written (%s), so only this log notes that the test folds were scored", ledger, error)


def times_scored(run: Path, ckpt_path: str | None = None) -> int:
    """Return how often the test folds were scored with a run's checkpoint, or 0 without a ledger.

    Args:
        run: the run's folder.
        ckpt_path: the checkpoint that the run evaluated or compressed, if it trained none.
    """
    own = run / "checkpoints" / "best.ckpt"
    checkpoint = own if own.is_file() or not ckpt_path else Path(ckpt_path).expanduser()
    try:
        with (checkpoint.parent / LEDGER_FILE).open(newline="", encoding="utf-8") as file:
            return sum(row["checkpoint"] == checkpoint.name for row in csv.DictReader(file))
    except (OSError, ValueError, csv.Error, KeyError):  # also for a path from a configuration from elsewhere
        return 0
