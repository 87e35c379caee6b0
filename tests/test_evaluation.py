"""`ecg-lightning evaluate` and `compare`: planted differences, honest choices, and tables that say what they are."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from ecg_lightning.cli import app
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.errors import DataError
from ecg_lightning.evaluation import report
from ecg_lightning.evaluation.decisions import decide
from ecg_lightning.evaluation.demographics import age_and_sex_alone
from ecg_lightning.evaluation.predictions import Predictions, read_predictions, write_predictions
from ecg_lightning.evaluation.subgroups import subgroups


def _targets(n, seed):
    return np.random.default_rng(seed).random((n, 5)) < [0.25, 0.12, 0.25, 0.45, 0.25]


def predictions(noise, n=1500, seed=0, first_id=1, draw=0):
    """A model whose logits are the labels, blurred."""
    truth = _targets(n, seed)
    random = np.random.default_rng([seed, int(1000 * noise), draw])
    logits = 2.0 * truth - 1 + noise * random.normal(size=truth.shape)
    ids = np.arange(first_id, first_id + n)
    return Predictions(SUPERCLASSES, "sigmoid", ids, ids // 2, truth, logits)


def model(noise, seed=0, draw=0):
    return (
        predictions(noise, seed=seed, draw=draw),
        predictions(noise, seed=seed + 100, first_id=5001, draw=draw),
    )


def test_a_planted_difference_is_found_and_its_absence_is_not():
    weak, strong = model(1.6), model(1.2)
    difference = report.compare(strong, weak)
    assert report.verdict(difference.auroc) == "better"
    assert report.verdict(difference.f1) == "better"
    assert report.verdict(report.compare(weak, strong).auroc) == "worse"
    same = report.compare(model(1.2), model(1.2, draw=1))
    assert report.verdict(same.auroc) == "no difference shown"
    nothing = report.compare(weak, weak)
    assert nothing.f1 == nothing.auroc == (0.0, 0.0, 0.0)


def test_the_pairing_makes_intervals_narrow():
    one, other = model(1.3), model(1.35)
    paired = report.compare(one, other).auroc
    alone = report.evaluate(*one).scores["macro"]["auroc"]
    assert paired.high - paired.low < 1.5 * (alone.high - alone.low)
    assert report.evaluate(*one).scores["macro"]["auroc"].value - report.evaluate(*other).scores["macro"][
        "auroc"
    ].value == pytest.approx(paired.value)


def test_records_are_matched_by_their_number():
    val, test = model(1.3)
    order = np.random.default_rng(0).permutation(len(test.ecg_ids))
    shuffled = Predictions(
        test.classes, test.link, test.ecg_ids[order], test.patient_ids[order],
        test.targets_NC[order], test.logits_NC[order],
    )  # fmt: skip
    assert report.compare((val, shuffled), (val, test)).auroc == (0.0, 0.0, 0.0)
    others = predictions(1.3, seed=100, first_id=6000)
    with pytest.raises(DataError, match="records that are not the same"):
        report.compare((val, others), (val, test))
    relabelled = predictions(1.3, seed=101, first_id=5001)
    with pytest.raises(DataError, match="have other labels"):
        report.compare((val, relabelled), (val, test))


def test_labels_of_the_test_fold_choose_nothing():
    val, test = model(1.3)
    permuted = Predictions(
        test.classes, test.link, test.ecg_ids, test.patient_ids, test.targets_NC[::-1], test.logits_NC
    )
    one, other = decide(val, test), decide(val, permuted)
    assert np.array_equal(one.thresholds_C, other.thresholds_C)
    assert np.array_equal(one.probabilities_NC, other.probabilities_NC)


def test_calibration_helps_a_model_that_is_too_sure():
    val, test = (
        Predictions(one.classes, one.link, one.ecg_ids, one.patient_ids, one.targets_NC, 5 * one.logits_NC)
        for one in model(1.3)
    )
    errors = report.calibration_errors(val, test)
    assert errors["platt"]["ece"] < 0.3 * errors["none"]["ece"]
    assert errors["platt"]["brier"] < errors["temperature"]["brier"] < errors["none"]["brier"]


def test_trivial_rules_stand_beside():
    val, test = model(1.3)
    baselines = report.evaluate(val, test, 100).baselines
    share = test.targets_NC.mean(axis=0)
    assert baselines["every class"] == pytest.approx((2 * share / (1 + share)).mean())
    assert baselines["no class"] == 0


def test_files_are_read_as_written(tmp_path):
    val, test = model(1.3)
    write_predictions(tmp_path / "predictions.csv", {"val": val, "test": test})
    found = read_predictions(tmp_path / "predictions.csv")
    for one, other in ((found["val"], val), (found["test"], test)):
        assert (one.classes, one.link) == (other.classes, other.link)
        for name in ("ecg_ids", "patient_ids", "targets_NC", "logits_NC"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "a,b\n1,2\n",
        lambda text: text.replace("target/MI", "target/XX"),
        lambda text: text.replace("logit/sigmoid", "logit/tanh"),
        lambda text: text + "val,1,1,0,0,0,0,0,a,b,c,d,e\n",
        lambda text: text + "val,1,1,0,0,0,0,0,nan,1,1,1,inf\n",
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "predictions.csv"
    write_predictions(path, {"val": model(1.3)[0]})
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=r"predictions\.csv"):
        read_predictions(path)


def _run(folder, noise, seed=0):
    folder.mkdir()
    val, test = model(noise, seed)
    write_predictions(folder / "predictions.csv", {"val": val, "test": test})
    (folder / "result.json").write_text(json.dumps({"data": {"label_rule": "benchmark"}}))
    (folder / "config.yaml").write_text("data: {train_folds: [1, 2, 3, 4, 5, 6, 7, 8]}")
    return folder


def _call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "240"})


def test_the_commands_print_tables_or_json(tmp_path):
    weak, strong = _run(tmp_path / "weak", 1.6), _run(tmp_path / "strong", 1.2)
    done = _call("compare", weak, strong, "--resamples", 200)
    assert done.exit_code == 0, done.output
    assert "better" in done.stdout
    assert "N = 1,500 records" in done.stdout
    rows = json.loads(_call("compare", weak, strong, "--resamples", 200, "--json").stdout)
    assert rows[1]["auroc_change"][0] > 0.02
    done = _call("evaluate", strong, "--resamples", 200)
    assert done.exit_code == 0, done.output
    for text in ("label rule benchmark", "every class for every record", "ECE", "AUPRC", "sensitivity"):
        assert text in done.stdout, text
    assert "runs of a sweep" not in done.stdout
    (tmp_path / "results.csv").touch()
    assert "one of 2 runs of a sweep" in _call("evaluate", strong, "--resamples", 200).stdout
    drawn = tmp_path / "reliability.png"
    found = json.loads(_call("evaluate", strong, "--resamples", 200, "--json", "--reliability", drawn).stdout)
    assert set(found["scores"]) == {*SUPERCLASSES, "macro"}
    assert drawn.stat().st_size > 10_000


def test_a_narrow_terminal_shows_classes_and_scores(tmp_path):
    run = _run(tmp_path / "run", 1.3)
    narrow = CliRunner().invoke(app, ["evaluate", str(run), "--resamples", "100"], env={"COLUMNS": "80"}).stdout
    for name in (*SUPERCLASSES, "macro"):
        assert re.search(rf"│ {name} +│.* 0\.\d{{3}} │", narrow), narrow
    assert "need a wider terminal" in narrow


def test_age_and_sex_alone_are_a_logistic_regression(tmp_path, synthetic_root):
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv")
    random = np.random.default_rng(0)
    table["age"], table["sex"] = random.integers(18, 90, len(table)), random.integers(0, 2, len(table))
    table.loc[0, "age"] = 300  # PTB-XL's more than 89
    sick = random.random(len(table)) < 1 / (1 + np.exp(-(table["age"] - 55) / 8))
    table["scp_codes"] = np.where(sick, "{'IMI': 100.0}", "{'NORM': 100.0}")
    table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
    (tmp_path / "scp_statements.csv").write_bytes((synthetic_root / "scp_statements.csv").read_bytes())
    ids, truth = table["ecg_id"].to_numpy(), np.zeros((len(table), 5), dtype=bool)
    truth[sick, SUPERCLASSES.index("MI")] = truth[~sick, SUPERCLASSES.index("NORM")] = True
    one = Predictions(SUPERCLASSES, "sigmoid", ids, ids, truth, np.zeros(truth.shape))
    (floor,) = age_and_sex_alone([one], tmp_path, range(1, 9), "superdiagnostic", "benchmark")
    train = table["strat_fold"] <= 8
    features = np.stack([table["age"].clip(upper=90) / 100, table["sex"]], axis=1)
    known = LogisticRegression(C=np.inf, tol=1e-8).fit(features[train], sick[train])
    expected = known.decision_function(features)
    assert np.allclose(floor.logits_NC[:, SUPERCLASSES.index("MI")], expected, atol=1e-2)
    assert np.allclose(floor.logits_NC[:, SUPERCLASSES.index("NORM")], -expected, atol=1e-2)
    assert (floor.logits_NC[:, SUPERCLASSES.index("HYP")] < -5).all()  # nobody has it
    with pytest.raises(DataError, match="no labelled record of the training folds"):
        age_and_sex_alone([one], tmp_path, [], "superdiagnostic", "benchmark")


def test_mistakes_are_one_sentence(tmp_path, synthetic_root):
    run, no_config = _run(tmp_path / "run", 1.3), _run(tmp_path / "no_config", 1.3)
    (no_config / "config.yaml").unlink()
    for arguments, said in (
        (("evaluate", tmp_path), "predictions.csv is not there"),
        (("evaluate", run, "--split", "train"), "--split train: allowed are test, val"),
        (("compare", run, tmp_path / "none"), "predictions.csv is not there"),
        (("evaluate", run, "--root", tmp_path), "ptbxl_database.csv is not there"),
        (("evaluate", run, "--reliability", tmp_path / "none" / "a.png"), "cannot be written"),
        (("evaluate", run, "--root", synthetic_root), "has no record 5001: name the PTB-XL folder of this run"),
        (("evaluate", no_config, "--root", tmp_path), "config.yaml does not say data.train_folds"),
    ):
        done = _call(*arguments)
        assert done.exit_code in (2, 3), done.output
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_small_groups_stay_silent(tmp_path, synthetic_root):
    table = pd.read_csv(synthetic_root / "ptbxl_database.csv")
    ids = table["ecg_id"].to_numpy()
    truth = _targets(len(ids), 1)
    logits = 2.0 * truth - 1 + np.random.default_rng(0).normal(size=truth.shape)
    one = Predictions(SUPERCLASSES, "sigmoid", ids, table["patient_id"].to_numpy(np.int64), truth, logits)
    table["sex"] = (np.arange(len(ids)) >= 10).astype(int)  # ten men
    table["age"], table["device"] = 50.0, "A"
    table[["baseline_drift", "static_noise", "burst_noise", "electrodes_problems"]] = np.nan
    table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
    groups = {(group.by, group.name): group for group in subgroups(one, one, Path(tmp_path), 100)}
    men, women = groups["sex", "male"], groups["sex", "female"]
    assert (men.n_records, men.classes, men.f1, men.auroc) == (10, (), None, None)
    assert women.n_records == len(ids) - 10
    assert women.auroc.low < women.auroc.value < women.auroc.high
    assert groups["noise", "flagged"].n_records == 0
    assert groups["age", "40–64"].n_records == len(ids)
