"""The choices of a model's validation fold, as the `result.json` of its run records them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecg_lightning.errors import DataError
from ecg_lightning.evaluation.choices import RAW, Choices
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.results.results import RESULT_FILE, read_result, run_of


def recorded_choices(folder: Path, scored: Predictions, validation: Predictions | None) -> Choices:
    """Return the choices that a run, or a variant of it, made on its validation fold.

    Results of schema 1 may lack some of the choices. Only then all of them are fitted again.

    Args:
        folder: folder of the run or of the variant.
        scored: predictions of any split.
        validation: predictions of the validation fold; None if only the choices of the evaluated checkpoint are known.

    Raises:
        DataError: the result holds no choices of these predictions.
    """
    run = run_of(folder)
    chosen = _chosen_in(read_result(run), folder.absolute().name if run != folder else None)
    if validation is not None and not _is_complete(chosen):
        return Choices.fit(validation)
    try:
        return Choices.from_dict({"link": scored.link, **chosen}, scored.classes, validation)
    except ValueError as error:
        raise DataError(f"{run}/{RESULT_FILE}: chosen: {error}; run the model again") from None


def _chosen_in(result: dict[str, Any], variant: str | None) -> dict[str, Any]:
    """Return the recorded choices of the run, or of one of its variants; empty if none are recorded."""
    holders = [result] if variant is None else [one for one in result["variants"] if one.get("name") == variant]
    return next((chosen for one in holders if isinstance(chosen := one.get("chosen"), dict)), {})


def _is_complete(chosen: dict[str, Any]) -> bool:
    """Return whether all choices are recorded, even if damaged: reading them then explains the damage."""
    thresholds = chosen.get("thresholds")
    return "conformal" in chosen and (not isinstance(thresholds, dict) or RAW in thresholds)
