"""Trainings that the cells of a sweep share."""

import pytest

from ecg_lightning.errors import TrainingDivergedError
from ecg_lightning.training import shared_runs


def test_a_refused_training_is_refused_to_the_other_cells(tmp_path):
    folder = tmp_path / "trainings" / "a"
    folder.mkdir(parents=True)
    assert shared_runs.start_or_go_on(folder) is None
    full = TrainingDivergedError("no room")
    full.__cause__ = OSError(28, "No space left on device")
    shared_runs.keep_refused(folder, full)  # there may be room for the next cell
    shared_runs.raise_refused(folder)
    shared_runs.keep_refused(folder, TrainingDivergedError("the loss is NaN"))
    with pytest.raises(TrainingDivergedError, match="the loss is NaN"):
        shared_runs.raise_refused(folder)
    shared_runs.forget_refused(tmp_path)
    shared_runs.raise_refused(folder)
