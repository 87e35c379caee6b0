"""The next commands after a run, a sweep or a compression. Each one works when it is pasted."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_lightning.data.sources import has_own_labels
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE
from ecg_lightning.reports.folder import FIGURES, TABLES
from ecg_lightning.reports.model_card import MODEL_CARD
from ecg_lightning.reports.section import write_cell
from ecg_lightning.reports.variants import recommended, variant_name, variant_rows
from ecg_lightning.results.recipes import n_tried
from ecg_lightning.results.results import read_config, read_result
from ecg_lightning.text import override

_MOST_COMPARED = 12
"""Most runs in a line to paste. `compare` itself has no limit."""


def files_to_hand_in(folder: Path) -> str:
    """Return the names of the figures, tables and model card in the folder of a run or a sweep; empty without any."""
    there = [f"{name}/" for name in (FIGURES, TABLES) if (folder / name).is_dir()]
    there += [MODEL_CARD] if (folder / MODEL_CARD).is_file() else []
    return " and ".join([", ".join(there[:-1]), there[-1]] if len(there) > 1 else there)


def next_steps(folder: Path, best: Path | None, ranked: Sequence[Path] = ()) -> list[str]:
    """Return the next commands, and the recommendation of a variant, as lines.

    Args:
        folder: folder of the run or the sweep.
        best: the run itself, or a sweep's best run; None if there is none.
        ranked: runs of a sweep that can be compared, best first.
    """
    lines = []
    if best is not None:
        result, config = read_result(best), read_config(best)
        lines += _all_folds(best, config, result)
        if not (result["variants"] and result["variants"][-1]["runtimes"]):
            lines += _with_predictions(best, result, ranked)
            lines += _compression(best, result)
        else:
            lines += _comparison(ranked)
            lines += _deployment(best, config, result)
    if any(folder.rglob("events.out.tfevents.*")):
        lines.append(f"  {executable('tensorboard')} --logdir {shlex.quote(str(folder))}")
    return lines


def alike(row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Return whether two rows of a sweep have the same records and labels, so that they can be compared."""
    return all(row[name] == best[name] for name in ("data", "task", "label_rule", "n_val", "n_test"))


def key_of(setting: str) -> str:
    """Return the key of an override on Hydra's command line, such as `+key=…` or `~key`."""
    return setting.lstrip("+~").partition("=")[0]


def executable(name: str) -> str:
    """Return the text that starts a program of this environment: its path if the environment is not active."""
    own = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(own) or not own.exists():
        return name
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))


def _all_folds(best: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return the command that trains a cross-validation's recipe on all training folds.

    It trains as the trials of a search did.
    """
    if not config.get("cross_validation"):
        return []
    ways = [f"{name}={config[name]}" for name in ("monitor", "scored_epoch")]
    if (config.get("callbacks") or {}).get("early_stopping") is None:
        ways.append("callbacks.early_stopping=null")
    # Fold 10 is scored if the command line asks for it, or by a later training.
    settings = {key_of(part): part for part in (*ways, "test=false", f"n_tried={n_tried(best)}", *result["overrides"])}
    for name in ("hparams_search", "ckpt_path", "paths.output_dir"):
        settings.pop(name, None)
    settings["cross_validation"] = "cross_validation=null"  # an experiment may set it
    return [" ".join([f"  {_program('train')}", *map(shlex.quote, settings.values())])]


def _with_predictions(best: Path, result: Mapping[str, Any], ranked: Sequence[Path]) -> list[str]:
    """Return the command that compares a sweep's runs, or that evaluates the one run."""
    if comparison := _comparison(ranked):
        return comparison
    if not (best / PREDICTIONS_FILE).is_file():
        return []
    split = [] if "test" in result["metrics"] else ["--split", "val"]
    return [_typed("evaluate", best, *split)]


def _comparison(ranked: Sequence[Path]) -> list[str]:
    known = [run for run in ranked if (run / PREDICTIONS_FILE).is_file()][:_MOST_COMPARED]
    if len(known) < 2:
        return []
    metrics = [read_result(run)["metrics"] for run in known]
    if not all("val" in one for one in metrics):  # thresholds and calibration come from val
        return []
    split = [] if all("test" in one for one in metrics) else ["--split", "val"]
    return [_typed("compare", *known, *split)]


def _compression(best: Path, result: Mapping[str, Any]) -> list[str]:
    checkpoint = best / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        return []
    hardware = [shlex.quote(part) for part in result["overrides"] if part.startswith("hardware")]
    named = shlex.quote(override("ckpt_path", str(checkpoint)))
    return [" ".join([f"  {_program('compress')}", named, "compression=ptq", *hardware])]


def _deployment(best: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    """Return lines that recommend a variant with the reason, predict with it, and benchmark it beside the original."""
    rows = variant_rows(result)
    row = recommended(rows)
    original = _file_of(best, result, rows[0])
    lines = []
    if row is None:
        row = rows[0]
        own = [one for one in rows if one["variant"] == row["variant"]]
        times = " and ".join(f"{one['ms']:.2f} ms per record in {one['precision']}" for one in own)
        lines.append(
            f"Recommended: the uncompressed model, {row['megabytes']:.2f} MB, {times}. No compressed variant is "
            "non-inferior and also faster or smaller."
        )
    else:
        change = write_cell(Interval(row["f1_change"], row["f1_low"], row["f1_high"]), "+.3f").line
        slower = f", but slower than the uncompressed model in {row['slower_than']}" if row["slower_than"] else ""
        lines.append(
            f"Recommended: {variant_name(row)} ({row['precision']}), {row['megabytes']:.2f} MB, {row['ms']:.2f} ms "
            f"per record{slower}; macro F1 {change}, {row['verdict']}"
        )
    chosen = _file_of(best, result, row)
    if chosen is not None and (record := _record(config)):
        lines.append(_typed("predict", record, "--model", chosen))
    if files := list(dict.fromkeys(file for file in (original, chosen) if file is not None)):
        lines.append(_typed("benchmark", *files, "--threads", "1"))
    return lines


def _file_of(best: Path, result: Mapping[str, Any], row: Mapping[str, Any]) -> Path | None:
    """Return the deployed file of a variant that `predict` can open."""
    variant = next(one for one in result["variants"] if one["name"] == row["variant"])
    names = [
        measured["file"]
        for measured in variant["runtimes"]
        if measured.get("file") and measured["file"].endswith((".onnx", ".xml"))
        and measured["runtime"] == row["runtime"]
    ]  # fmt: skip
    paths = [result["artifacts"].get(f"{row['variant']}/{name}") for name in names]
    found = [best / path for path in paths if path and (best / path).is_file()]
    return found[0] if found else None


def _record(config: Mapping[str, Any]) -> Path | None:
    """Return a record of the run's data, for the example; None if the folder is no longer there."""
    data = config.get("data") or {}
    root, rate = data.get("root"), data.get("sampling_rate")
    if not isinstance(root, str) or not isinstance(rate, int):
        return None
    if has_own_labels(data):
        return next(Path(root).expanduser().rglob("*.hea"), None)
    folder = Path(root).expanduser() / f"records{rate}"
    part = min((one for one in folder.glob("*") if one.is_dir()), default=None)
    return min(part.glob("*.hea"), default=None) if part else None


def _typed(command: str, *arguments: Path | str) -> str:
    return " ".join([f"  {executable('ecg-lightning')} {command}", *(shlex.quote(str(one)) for one in arguments)])


def _program(main: str) -> str:
    """Return the start of a command in the same form in which this program was started, so that the command works."""
    if not sys.argv[0].endswith(".py"):
        return f"{executable('ecg-lightning')} {main}"
    return f"{executable('python')} {shlex.quote(str(Path(sys.argv[0]).with_name(f'{main}.py')))}"
