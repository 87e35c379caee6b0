"""Sections of `ecg-lightning evaluate` and `compare`, and of the tables in a run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any

from ecg_lightning.data.source import OWN
from ecg_lightning.evaluation import report
from ecg_lightning.evaluation.bootstrap import Interval
from ecg_lightning.evaluation.conformal import ALPHA
from ecg_lightning.evaluation.subgroups import MIN_POSITIVES
from ecg_lightning.reports.section import Cell, Column, Section, Table
from ecg_lightning.results.ledger import LEDGER_FILE
from ecg_lightning.text import counted

_HEADINGS = {name: name.upper() for name in ("auroc", "auprc", "f1", "ppv", "npv")}
_RANKING = ("auroc", "auprc", "f1")
_DECISIONS = ("sensitivity", "specificity", "ppv", "npv")
_SURE = {"distance": "distance to the thresholds", "agreement": "agreement of the members"}


def evaluation_sections(found: Mapping[str, Any]) -> list[Section]:
    """Return the sections of the scores from `evaluations.evaluate_run`."""
    sections = [
        *score_sections(found, f"{found['run']}, {found['split']}"),
        *([_thresholds_section(found)] if "conformal" in found["chosen"] else []),
        calibration_section(found),
        *([conformal_section(found)] if found["conformal"] else []),
        abstention_section(found),
        *([subgroup_section(found)] if "subgroups" in found else []),
    ]
    return [*sections, Section("remarks", "", notes=_remarks(found))]


def score_sections(found: Mapping[str, Any], title: str) -> list[Section]:
    """Return two tables with the same rows: the scores of each class, and of baselines that ignore the signal.

    Args:
        found: `evaluation.report.Report` as plain values, with the additions of `evaluation.cohort`.
        title: title of the first table.
    """
    rows = {name: [interval_of(scores[metric]) for metric in report.METRICS] for name, scores in _by_class(found)}
    ranking: list[list[Cell]] = []
    for name, intervals in rows.items():
        positive = found["positives"].get(name)
        share = None if positive is None else positive / found["n_records"]
        ranking.append([name, positive, share, *intervals[: len(_RANKING)]])
    n_classes = len(ranking)
    for name, f1 in found["baselines"].items():  # constant predictions, which rank nothing
        ranking.append([name, None, None, 0.5, None, f1])
    if floor := found.get("age_and_sex"):
        known = [interval_of(floor[metric]) if metric in floor else None for metric in _RANKING]
        ranking.append(["age and sex", None, None, *known])
    key = Column("class", "class")
    counts = (Column("positive", "positive", ",d"), Column("share", "positive_share", ".0%", optional=1))
    return [
        Section(
            "scores",
            title,
            Table((key, *counts, *_score_columns(_RANKING)), ranking, rules=(n_classes,)),
            legend=(
                f"N = {found['n_records']:,} records of {found['n_patients']:,} patients. Brackets: 95 % "
                "interval, bootstrap by patient. A random ranking has an AUROC of 0.5 and an AUPRC equal to the "
                "share of positives. The last rows predict every class or no class for every record"
                + (", or use a logistic regression on age and sex alone." if floor else ".")
            ),
        ),
        Section(
            "decisions",
            "Decisions at the thresholds",
            Table(
                (key, *_score_columns(_DECISIONS)),
                [[name, *intervals[len(_RANKING) :]] for name, intervals in rows.items()],
            ),
        ),
    ]


def calibration_section(found: Mapping[str, Any]) -> Section:
    """Return the calibration errors before and after each calibration."""
    rows: list[list[Cell]] = []
    for name, errors in found["calibration"].items():
        of_classes = {one: error for one, error in errors["ece_by_class"].items() if error is not None}
        worst = ", ".join(f"{one} {of_classes[one]:.3f}" for one in nlargest(2, of_classes, of_classes.__getitem__))
        rows.append([name, errors["ece"], worst, interval_of(errors["brier"])])
    columns = (
        Column("calibration", "calibration"),
        Column("ECE", "ece", ".4f"),
        Column("largest ECE of a class", "largest_ece"),
        Column("Brier score", "brier", ".4f"),
    )
    return Section(
        "calibration", "Calibration", Table(columns, rows), legend="ECE: expected calibration error in 15 bins."
    )


def conformal_section(found: Mapping[str, Any]) -> Section:
    """Return the measured coverage of the conformal sets."""
    rows: list[list[Cell]] = []
    n_rare = 0
    for name, one in found["conformal"].items():
        if one["n_positive"] < MIN_POSITIVES:
            n_rare += 1
            continue
        shares = (interval_of(one[share]) for share in ("positive", "negative", "undecided"))
        rows.append([name, one["n_positive"], *shares])
    columns = (
        Column("class", "class"),
        Column("positive records", "n_positive", ",d"),
        Column("positives covered", "positives_covered", ".1%"),
        Column("negatives covered", "negatives_covered", ".1%"),
        Column("undecided", "undecided", ".1%"),
    )
    few = f"Not shown: {counted(n_rare, 'class', 'classes')} with fewer than {MIN_POSITIVES} positive records."
    return Section(
        "conformal",
        "Conformal sets",
        Table(columns, rows) if rows else None,
        notes=[few] if n_rare else [],
        legend=f"Target: {1 - ALPHA:.0%} of the positives and of the negatives are covered, on average over validation "
        "folds."
        if rows
        else "",
    )


def abstention_section(found: Mapping[str, Any]) -> Section:
    """Return the share of records with a wrong class among the surest records."""
    curves = found["abstention"]
    kept = next(iter(curves.values()))["kept"]
    rows: list[list[Cell]] = [
        [share, *(interval_of(one["wrong_records"][place]) for one in curves.values())]
        for place, share in enumerate(kept)
    ]
    columns = (
        Column("records kept", "kept", ".0%"),
        *(Column(f"wrong, by {_SURE[name]}", f"wrong_by_{name}", ".1%") for name in curves),
    )
    areas = "; ".join(
        f"{_SURE[name]}: {value:.3f} [{low:.3f}, {high:.3f}]"
        for name, (value, low, high) in ((name, interval_of(one["aurc"])) for name, one in curves.items())
    )
    at_random = interval_of(next(iter(curves.values()))["wrong_records"][0]).value
    return Section(
        "abstention",
        "Records with a wrong class among the surest",
        Table(columns, rows),
        legend=f"Area under this curve (AURC), by {areas}; at random {at_random:.3f}.",
    )


def subgroup_section(found: Mapping[str, Any]) -> Section:
    """Return the scores of groups of patients. Groups without a class to score are only counted."""
    groups = found["subgroups"]
    rows: list[list[Cell]] = []
    for group in groups:
        if not group["classes"]:
            continue
        f1, auroc, common = (_maybe(group[score]) for score in ("f1", "auroc", "auroc_common"))
        rows.append([f"{group['by']}: {group['name']}", group["n_records"], common, auroc, f1])
        rows[-1] += [", ".join(group["classes"]), ", ".join(group["common"])]
    columns = (
        Column("group", "group"),
        Column("N", "n_records", ",d"),
        Column("AUROC, common classes", "auroc_common", ".3f"),
        Column("AUROC, classes of the group", "auroc", ".3f"),
        Column("F1, classes of the group", "f1", ".3f", optional=1),
        Column("classes of the group", "classes", optional=2),
        Column("common classes", "common", optional=2),
    )
    n_empty = len(groups) - len(rows)
    verb = "is" if n_empty == 1 else "are"
    too_small = (
        f"{counted(n_empty, 'group')} {verb} too small: no class has at least {MIN_POSITIVES} positive and "
        f"{MIN_POSITIVES} other records there."
    )
    return Section(
        "subgroups",
        "Groups of patients",
        Table(columns, rows) if rows else None,
        notes=[too_small] if n_empty else [],
        legend="Compare groups by the common classes, which can be scored in all groups of a kind." if rows else "",
    )


def interval_of(values: Sequence[float | None]) -> Interval:
    """Return an interval of plain values. A figure that does not exist may be None."""
    value, low, high = (math.nan if one is None else one for one in values)
    return Interval(value, low, high)


def comparison_sections(rows: Sequence[Mapping[str, Any]], split: str) -> list[Section]:
    """Return the sections of the rows from `evaluations.compare_runs`."""
    sections = [_metric_section(rows, split, metric, heading) for metric, heading in (("f1", "F1"), ("auroc", "AUROC"))]
    return [*sections, Section("remarks", "", notes=_comparison_remarks(rows, split), legend=_how_to_read(rows))]


def _metric_section(rows: Sequence[Mapping[str, Any]], split: str, metric: str, heading: str) -> Section:
    any_seeds = any(len(row["runs"]) > 1 and not row["averaged"] for row in rows)
    columns = [
        Column("run", "run"),
        *([Column("seeds", "seeds", "d")] if any_seeds else []),
        Column(heading, metric, ".3f"),
        *([Column("sd of seeds", f"{metric}_sd_of_seeds", ".3f")] if any_seeds else []),
        Column("difference to the first", f"{metric}_difference", "+.3f"),
        Column("verdict", f"{metric}_verdict"),
    ]
    cells: list[list[Cell]] = []
    for row, name in zip(rows, row_names(rows), strict=True):
        seeds: list[Cell] = [len(row["runs"]), row[f"{metric}_sd"]] if any_seeds else []
        change = row.get(f"{metric}_change")
        found: list[Cell] = [name, *seeds[:1], row[metric], *seeds[1:]]
        verdict = row[f"{metric}_verdict"] if change else "reference"
        cells.append([*found, change, verdict])
    legend = (
        f"N = {rows[0]['n_records']:,} records. Brackets: 95 % interval, bootstrap by patient, paired for differences."
    )
    return Section(f"comparison_{metric}", f"Macro {heading}, {split}", Table(columns, cells), legend=legend)


def row_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the name of each row of a comparison: the model if all models differ, otherwise the first run."""
    models = [row["model"] for row in rows if not row["averaged"]]
    by_model = None not in models and len({*models}) == len(models)
    return [
        f"average of the {len(row['runs'])} runs" if row["averaged"] else str(row["model"] if by_model else row["run"])
        for row in rows
    ]


def _comparison_remarks(rows: Sequence[Mapping[str, Any]], split: str) -> list[str]:
    notes = []
    named = list(zip(row_names(rows), rows, strict=True))
    if len(rows) == 1:
        notes.append("All runs are one recipe with different seeds, so there is nothing to compare them with.")
    if pairs := [name for name, row in named if row["f1_sd"] is not None and not row["covers_seeds"]]:
        notes.append(f"Two seeds are too few for an interval over seeds. Over patients alone: {', '.join(pairs)}.")
    if len(codes := sorted({code for row in rows for code in row["code"]})) > 1:
        notes.append(f"The runs were made with different code, which can cause a difference: {'; '.join(codes)}.")
    for n_tried in sorted({row["n_tried"] for row in rows if row["n_tried"] > 1}):
        chosen = ", ".join(name for name, row in named if row["n_tried"] == n_tried and not row["averaged"])
        if chosen and split == "val":
            notes.append(
                f"Each of these runs is one of {n_tried} configurations that were tried, so its score on the fold "
                f"that chose it is optimistic: {chosen}."
            )
        elif chosen:
            notes.append(
                f"{n_tried} configurations were tried. These scores are fair if the validation fold chose among them, "
                f"and not these records: {chosen}."
            )
    if split == "val":
        notes.append(
            "The validation fold chose the thresholds and the temperature, so scores on that fold are optimistic."
        )
    return notes


def _how_to_read(rows: Sequence[Mapping[str, Any]]) -> str:
    several = any(len(row["runs"]) > 1 and not row["averaged"] for row in rows)
    parts = [
        "Thresholds and temperature come from each run's validation fold.",
        "Verdict: better or worse if the interval of the difference excludes 0.",
        "Runs that differ only in their seed are averaged in one row. With three seeds or more, its intervals "
        "cover seeds."
        if several
        else "With one run of a recipe, the intervals do not cover other seeds.",
    ]
    if any(row.get("shared") for row in rows):
        parts.append("Where two rows share trainings, the interval of the difference covers patients, but not seeds.")
    return " ".join(parts)


def _task(found: Mapping[str, Any]) -> str:
    return f"Task {found['task']}, label rule {found['label_rule']}."


def _remarks(found: Mapping[str, Any]) -> list[str]:
    own = found["task"] == OWN
    notes = ["The labels are those of the run's own table." if own else _task(found)]
    if found["calibration"].keys() == {"none"}:
        notes.append("The thresholds are the checkpoint's. No validation fold was predicted, so nothing is calibrated.")
    else:
        epoch = " It also chose the epoch." if found["chose_epoch"] else ""
        too_good = " Scores on that fold are optimistic." if found["split"] == "val" else ""
        notes.append(
            f"The validation fold chose the thresholds, the calibration and the conformal sets.{epoch}{too_good}"
        )
    if absent := found["absent"]:
        often = ", ".join(f"{name} {share:.1%}" for name, share in absent.items())
        notes.append(
            f"Macro means leave out a class in resamples that hold no positive or no negative record of it: {often}."
        )
    if "conformal" in found["chosen"] and not found["conformal"]:
        notes.append(
            "Coverage is not reported, because the conformal sets were fitted on these records. Use --split test."
        )
    notes.append(
        f"This is one of {found['n_tried']} configurations that were tried, so its score on the fold that chose "
        "it is optimistic."
        if found["n_tried"] > 1
        else "Configurations tried: 1 (set n_tried if you selected this run from several)."
    )
    if found["split"] == "test" and (times := found["times_test_scored"]) > 1:
        notes.append(
            f"The test folds were scored {times} times with this checkpoint, or with an average that includes it "
            f"(checkpoints/{LEDGER_FILE}). Do not use these scores to choose between models."
        )
    if reason := found.get("left_out"):
        notes.append(
            f"The age-and-sex baseline is left out: {reason}."
            if "subgroups" in found
            else f"Groups of patients and the age-and-sex baseline are left out: {reason}. Name the PTB-XL folder with "
            "--root."
        )
    return notes


def _thresholds_section(found: Mapping[str, Any]) -> Section:
    chosen = found["chosen"]
    rows: list[list[Cell]] = [
        [name, threshold, *chosen["conformal"].get(name, (None, None))]
        for name, threshold in chosen["thresholds"]["calibrated"].items()
    ]
    columns = (
        Column("class", "class"),
        Column("threshold", "threshold", ".3f"),
        Column("plausibly present from", "present_from", ".3f"),
        Column("plausibly absent up to", "absent_up_to", ".3f"),
    )
    return Section(
        "thresholds",
        f"Thresholds of the validation fold, for probabilities after temperature {chosen['temperature']:.3f}",
        Table(columns, rows),
    )


def _score_columns(metrics: Sequence[str]) -> list[Column]:
    return [Column(_HEADINGS.get(name, name), name, ".3f") for name in metrics]


def _by_class(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return list(found["scores"].items())


def _maybe(values: Sequence[float | None] | None) -> Cell:
    return None if values is None else interval_of(values)
