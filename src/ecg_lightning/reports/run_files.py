"""Figures, tables and the model card of a finished run or sweep. An error here does not fail the run."""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.wfdb import MILLIVOLTS_PER_UNIT
from ecg_lightning.errors import UserError
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.reports.evaluation_tables import score_sections
from ecg_lightning.reports.folder import FIGURES, write_sections
from ecg_lightning.reports.model_card import MODEL_CARD, model_card
from ecg_lightning.reports.section import Section
from ecg_lightning.reports.tables import ranking_section
from ecg_lightning.reports.variants import variant_rows, variants_section
from ecg_lightning.results.results import RESULT_FILE, RunResult, read_config, read_result
from ecg_lightning.system.disk import explain_full, is_full, write_whole
from ecg_lightning.text import explain_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ecg_lightning.data.datamodule import ECGDataModule

log = logging.getLogger(__name__)

_FILE_NAMES = {"reliability": "calibration"}
"""File names of figures whose tag in TensorBoard differs."""


def draw_headline(
    predictions: Mapping[str, Predictions],
    choices: Choices,
    datamodule: ECGDataModule | None,
    folder: Path,
) -> dict[str, Figure]:
    """Return the figures of the headline split; none, with a warning, if drawing fails.

    Args:
        predictions: predictions by split.
        choices: the model's choices.
        datamodule: data module of the drawn signals; None draws no ECG.
        folder: folder of the run, for the warning.

    Returns:
        Figures by tag, see `figures.draw_split`.
    """
    phase = headline(predictions)
    figures: dict[str, Figure] = {}
    with _warned("figures", folder):
        from ecg_lightning.reports.figures import draw_split

        figures |= draw_split(
            phase,
            choices,
            predictions[phase],
            signal_of=_signals_of(datamodule, phase) if datamodule else None,
            sampling_rate=datamodule.sampling_rate if datamodule else 0,
        )
    return figures


def write_run_files(
    result: RunResult,
    folder: Path,
    figures: Mapping[str, Figure],
    more: Sequence[Section] = (),
    result_file: str = RESULT_FILE,
) -> None:
    """Write a finished run's figures, tables and model card, and add them to its result.

    Args:
        result: the run's result. It gets the new files and is written again.
        folder: folder of the run.
        figures: figures from `draw_headline`.
        more: sections of the training.
        result_file: file name of the result.
    """
    with _warned("figures, tables and model card", folder):
        evaluated = headline(result.evaluation) if result.evaluation else None
        if evaluated:
            title = f"Scores of each class, {evaluated} split"
            tables = score_sections(result.evaluation[evaluated], title)
            result.artifacts |= write_sections(tables, "per_class", folder)
        for section in [*more, *(_drawn_section(*one) for one in figures.items())]:
            result.artifacts |= write_sections([section], section.name, folder)
        values = dataclasses.asdict(result)
        if rows := variant_rows(values):
            section = variants_section(rows, "Variants")
            result.artifacts |= write_sections([section], "variants", folder)
        result.artifacts["model_card"] = MODEL_CARD
        write_whole(folder / MODEL_CARD, model_card(dataclasses.asdict(result), read_config(folder)))
        result.write(folder, result_file)


def write_sweep_files(
    rows: Sequence[dict[str, Any]], recipes: Mapping[str, str], folder: Path, best: Path | None
) -> None:
    """Write a sweep's ranked table, its figure, its variants and the model card of its best run.

    Args:
        rows: rows from `tables.collect`.
        recipes: recipe of each run, see `recipes.recipes_by_run`.
        folder: folder of the sweep.
        best: folder of the best run; None if no run has a score.
    """
    with _warned("tables and model card", folder):
        config = read_config(best) if best else {}
        with_figure = bool((config.get("callbacks") or {}).get("figures"))
        sections = [ranking_section(rows, "Runs of the sweep, best first", recipes, with_figure=with_figure)]
        write_sections(sections, "ranking", folder)
        if best is None:
            return
        result = read_result(best)
        own = best.relative_to(folder)
        result["artifacts"] = {name: str(own / path) for name, path in result["artifacts"].items()}
        opening = (
            f"This card describes `{own}`, which has the best validation score of the {len(rows)} runs in the sweep."
        )
        write_whole(folder / MODEL_CARD, model_card(result, config, [opening]))


def write_variant_files(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write the variants of all cells of a sweep.

    Args:
        rows: rows from `variants.variant_rows`.
        folder: folder of the sweep.
    """
    with _warned("tables", folder):
        write_sections([variants_section(rows, "Variants")], "variants", folder)


def headline(splits: Mapping[str, Any]) -> str:
    """Return the split whose scores represent the run: the test folds if they were scored."""
    return "test" if "test" in splits else next(iter(splits))


def _drawn_section(tag: str, figure: Figure) -> Section:
    name = _FILE_NAMES.get(tag, tag.replace("/", "_"))
    return Section(name, name.replace("_", " "), figure=figure)


def _signals_of(datamodule: ECGDataModule, phase: str) -> Callable[[int], npt.NDArray[np.float32]]:
    dataset = datamodule.datasets[phase]

    def signal_of(index: int) -> npt.NDArray[np.float32]:
        millivolts: npt.NDArray[np.float32] = (dataset[index].signals.float() * MILLIVOLTS_PER_UNIT).numpy()
        return millivolts

    return signal_of


@contextmanager
def _warned(what: str, folder: Path) -> Iterator[None]:
    """Turn any error into a warning, because the run itself is finished.

    Drawing makes many small objects. Garbage collection is off, because it would search all of PyTorch's objects
    several times.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    except Exception as error:  # the run is finished and written, whatever fails here
        if isinstance(error, UserError):
            reason = str(error)
        else:
            reason = explain_full(folder / FIGURES) if is_full(error) else explain_error(error)
        log.warning("the %s of this run are incomplete: %s", what, reason)
    finally:
        if collects:
            gc.enable()
