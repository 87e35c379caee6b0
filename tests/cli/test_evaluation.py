"""`ecg-lightning evaluate` and `compare`: planted differences, honest choices, and tables that say what they are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from ecg_lightning.commands.cli import app
from ecg_lightning.commands.evaluations import named_runs
from ecg_lightning.data.labels import SUPERCLASSES
from ecg_lightning.data.ptbxl_source import PTBXLSource
from ecg_lightning.data.schema import PTBXLConfig
from ecg_lightning.errors import DataError, UserError
from ecg_lightning.evaluation import bootstrap, paired, report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.demographics import age_and_sex_alone
from ecg_lightning.evaluation.predictions import Predictions, averaged, read_predictions, write_predictions
from ecg_lightning.evaluation.subgroups import subgroups


def cohort_of(root):
    return PTBXLSource(PTBXLConfig(root=str(root))).cohort()


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


def _evaluate(val, split, n_resamples=1000):
    return report.evaluate(Choices.fit(val), split, n_resamples)


def compare(one, other):
    """Of two recipes, each trained once."""
    return compare_trainings([one], [other])


def compare_trainings(recipe, reference, n_resamples=1000):
    like = reference[0][1]
    return paired.compare(*(_score(trainings, like, n_resamples) for trainings in (recipe, reference)))


def _score(trainings, like, n_resamples):
    return paired.score([(Choices.fit(val), split) for val, split in trainings], like, n_resamples)


def verdict(difference):
    return paired.verdict(difference.auroc, difference.of)


def test_a_planted_difference_is_found_and_its_absence_is_not():
    weak, strong = model(1.6), model(1.2)
    difference = compare(strong, weak)
    assert verdict(difference) == "better (one run)"
    assert paired.verdict(difference.f1, "one run") == "better (one run)"
    assert verdict(compare(weak, strong)) == "worse (one run)"
    same = compare(model(1.2), model(1.2, draw=1))
    assert verdict(same) == "no difference shown"
    nothing = compare(weak, weak)
    assert nothing.f1 == nothing.auroc == (0.0, 0.0, 0.0)
    many = [[model(noise, draw=draw) for draw in range(3)] for noise in (1.2, 1.6)]
    assert verdict(compare_trainings(*many)) == "better"
    assert verdict(compare_trainings(many[0], many[1][:1])) == "better (one run)"


def test_the_pairing_makes_intervals_narrow():
    """Of a model and nearly the same one; unpaired, the interval would be wider than one model's own."""
    val, test = model(1.3)
    logits = test.logits_NC + np.random.default_rng(0).normal(scale=0.3, size=test.logits_NC.shape)
    nearly = (val, replace(test, logits_NC=logits))
    difference = compare((val, test), nearly).auroc
    alone, other = (_evaluate(*one).scores["macro"]["auroc"] for one in ((val, test), nearly))
    assert difference.high - difference.low < 0.6 * (alone.high - alone.low)
    assert alone.value - other.value == pytest.approx(difference.value)


def test_seeds_of_a_recipe_count_as_their_mean():
    recipe, reference = [model(1.3, draw=draw) for draw in range(3)], [model(1.4, draw=draw) for draw in range(3)]
    found = compare_trainings(recipe, reference, 400)
    singles = [[_evaluate(*one, 100).scores["macro"]["auroc"].value for one in of] for of in (recipe, reference)]
    assert found.auroc.value == pytest.approx(np.mean(singles[0]) - np.mean(singles[1]))
    assert found.auroc.low < found.auroc.value < found.auroc.high


def test_the_interval_covers_the_seeds_too():
    """Trainings that lie far apart make the mean uncertain, however many patients there are."""
    steady, shaky = [model(1.3)] * 3, [model(1.1), model(1.3), model(1.5)]
    scores = [_score(of, steady[0][1], 400).auroc for of in (steady, shaky)]
    widths = [np.ptp(paired.mean_interval(one)[1:]) for one in scores]
    assert widths[1] > 2 * widths[0]
    for one in scores:
        assert paired.mean_interval(one).value == pytest.approx(one[:, 0].mean())


def test_intervals_stay_where_scores_can_be():
    """Three seeds that lie far apart: Student's interval alone would reach from −0.1 to 1.7."""
    scores_SR = np.array([[0.95], [0.8], [0.65]]) + np.zeros((3, 50))
    assert paired.mean_interval(scores_SR) == (pytest.approx(0.8), pytest.approx(0.4274, abs=1e-3), 1.0)
    shaky_SR = np.array([[1.0], [0.5], [0.0]]) + np.zeros((3, 50))
    difference = paired.compare(paired.Scores(shaky_SR, shaky_SR), paired.Scores(1 - shaky_SR, 1 - shaky_SR))
    assert (difference.auroc.low, difference.auroc.high) == (-1.0, 1.0)


def test_two_seeds_cannot_tell():
    """Their spread is no part of an interval, and the verdict says so, whatever it is."""
    patients = rng_of_patients() - 0.9
    two, three = np.array([[0.94], [0.90]]) + patients, np.array([[0.81], [0.80], [0.79]]) + patients
    assert paired.mean_interval(two) == bootstrap.interval(two.mean(axis=0))
    for other, said in ((two, "no difference shown"), (two - 0.1, "better"), (three, "better")):
        found = paired.compare(paired.Scores(two, two), paired.Scores(other, other))
        assert paired.verdict(found.f1, found.of) == f"{said} (two seeds cannot tell)"
    alone = paired.compare(paired.Scores(two, two), paired.Scores(two[:1] - 0.1, two[:1] - 0.1))
    assert paired.verdict(alone.f1, alone.of) == "better (one run)"
    assert paired.verdict(bootstrap.Interval(*[float("nan")] * 3), alone.of) == "nothing to compare"


@pytest.mark.parametrize("n_seeds", [(3, 2), (3, 3), (1, 3), (5, 3)])
def test_intervals_over_seeds_keep_their_promise(n_seeds):
    """Recipes that are equal differ in their seeds' luck alone: 95 % of the intervals hold 0."""
    rng, held, patients = np.random.default_rng(0), 0, rng_of_patients()
    for _ in range(2000):
        scores = [0.01 * rng.normal(size=(n, 1)) + patients for n in n_seeds]
        difference = paired.compare(*(paired.Scores(one, one) for one in scores)).auroc
        held += difference.low <= 0 <= difference.high
    assert 0.935 < held / 2000 < 0.965


def rng_of_patients():
    """(1, R + 1): patients move all of them alike, so that they do not tell recipes apart."""
    return np.random.default_rng(1).normal(0.9, 0.02, size=(1, 41))


def test_records_are_matched_by_their_number():
    val, test = model(1.3)
    order = np.random.default_rng(0).permutation(len(test.ecg_ids))
    shuffled = Predictions(
        test.classes, test.link, test.ecg_ids[order], test.patient_ids[order],
        test.targets_NC[order], test.logits_NC[order],
    )  # fmt: skip
    assert compare((val, shuffled), (val, test)).auroc == (0.0, 0.0, 0.0)
    others = predictions(1.3, seed=100, first_id=6000)
    with pytest.raises(DataError, match="predict different records or labels"):
        compare((val, others), (val, test))
    relabelled = predictions(1.3, seed=101, first_id=5001)
    with pytest.raises(DataError, match="predict different records or labels"):
        compare((val, relabelled), (val, test))


def test_labels_of_the_test_fold_choose_nothing():
    val, test = model(1.3)
    permuted = Predictions(
        test.classes, test.link, test.ecg_ids, test.patient_ids, test.targets_NC[::-1], test.logits_NC
    )
    one, other = _evaluate(val, test, 100), _evaluate(val, permuted, 100)
    chosen, chosen_there = (Choices.fit(of).as_dict() for of in (val, permuted))
    assert one.probabilities == "calibrated"
    decided = Choices.fit(val).apply(test)
    assert chosen["thresholds"]["calibrated"] == dict(zip(SUPERCLASSES, decided.thresholds_C, strict=True))
    assert one.scores != other.scores
    assert chosen_there["temperature"] > 2 * chosen["temperature"]  # it does matter whose labels choose


def test_calibration_helps_a_model_that_is_too_sure():
    val, test = (
        Predictions(one.classes, one.link, one.ecg_ids, one.patient_ids, one.targets_NC, 5 * one.logits_NC)
        for one in model(1.3)
    )
    errors = report.calibration_errors(Choices.fit(val), test, np.ones((1, len(test.ecg_ids))))
    assert errors["platt"]["ece"] < 0.3 * errors["none"]["ece"]
    for one in errors.values():
        assert tuple(one["ece_by_class"]) == test.classes
        assert np.mean([*one["ece_by_class"].values()]) == pytest.approx(one["ece"])
    assert errors["platt"]["brier"].value < errors["temperature"]["brier"].value < errors["none"]["brier"].value


def test_trivial_rules_stand_beside():
    val, test = model(1.3)
    baselines = _evaluate(val, test, 100).baselines
    share = test.targets_NC.mean(axis=0)
    assert baselines["every class"] == pytest.approx((2 * share / (1 + share)).mean())
    assert baselines["no class"] == 0


def test_conformal_sets_say_nothing_of_the_records_that_made_them():
    val, test = model(1.3)
    assert _evaluate(val, val, 100).conformal == {}
    assert _evaluate(val, test, 100).conformal.keys() == set(test.classes)


def test_classes_that_resamples_lack_are_told():
    """There a macro mean is one of fewer classes."""
    val, test = model(1.3)
    assert _evaluate(val, test, 200).absent == {}
    rare = test.targets_NC.copy()
    rare[:, 2] = False
    rare[0, 2] = True
    found = _evaluate(val, replace(test, targets_NC=rare), 2000)
    assert found.absent == {test.classes[2]: pytest.approx(np.exp(-1), abs=0.04)}  # one patient of many is not drawn


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
        lambda text: text + "val,99999,,0,0,0,0,0,1,1,1,1,1\n",  # of no patient
        lambda text: text + text.splitlines()[1] + "\n",
        lambda text: text + "val,99999,1,7,0,0,0,0,1,1,1,1,1\n",
        lambda text: text + "val,a,1,0,0,0,0,0,1,1,1,1,1\n",
        lambda text: text + "val,99999.5,1,0,0,0,0,0,1,1,1,1,1\n",
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / "predictions.csv"
    write_predictions(path, {"val": model(1.3)[0]})
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=r"predictions\.csv"):
        read_predictions(path)


def test_a_table_that_was_cut_between_records_classes_or_splits_is_refused(tmp_path):
    run = _run(tmp_path / "run", 1.3)
    made = {
        "data": {"label_rule": "benchmark", "n_val": 1500, "n_test": 1500},
        "metrics": {"val": {}, "test": {}},
        "evaluation": {"val": {"positives": dict.fromkeys(SUPERCLASSES, 300)}},
    }
    (run / "result.json").write_text(json.dumps(made))
    read = _call("evaluate", run, "--resamples", 100)
    assert read.exit_code == 0, read.output
    lines = (run / "predictions.csv").read_text().splitlines(keepends=True)
    (run / "predictions.csv").write_text("".join(lines[:-10]))
    done = _call("evaluate", run, "--resamples", 100)
    assert done.exit_code == DataError.exit_code
    assert "holds 1,490 records of the split test, but the run predicted 1,500" in " ".join(done.stderr.split())
    (run / "predictions.csv").write_text("".join(line for line in lines if not line.startswith("val")))
    said = " ".join(_call("evaluate", run).stderr.split())
    assert "it lacks the run's predictions of the split val" in said
    table = pd.DataFrame([line.strip().split(",") for line in lines[1:]], columns=lines[0].strip().split(","))
    table.loc[:, [name for name in table if not name.endswith("STTC")]].to_csv(run / "predictions.csv", index=False)
    said = " ".join(_call("evaluate", run).stderr.split())
    assert "holds the classes CD, HYP, MI, NORM, but the run predicted CD, HYP, MI, NORM, STTC" in said


def _run(folder, noise, seed=0, draw=0, config=""):
    folder.mkdir()
    val, test = model(noise, seed, draw)
    write_predictions(folder / "predictions.csv", {"val": val, "test": test})
    (folder / "result.json").write_text(json.dumps({"data": {"label_rule": "benchmark"}}))
    (folder / "config.yaml").write_text("data: {train_folds: [1, 2, 3, 4, 5, 6, 7, 8]}\n" + config)
    return folder


def _call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "240"})


def test_runs_that_differ_in_their_seed_alone_are_one_recipe(tmp_path):
    def run(name, noise, seed, model):
        config = f"seed: {seed}\nmodel: {model}\npaths: {{output_dir: {name}}}\n"
        return _run(tmp_path / name, noise, draw=seed, config=config)

    vits = [run(f"vit{seed}", 1.6, seed, "vit") for seed in range(3)]
    deits = [run(f"deit{seed}", 1.2, seed, "deit") for seed in range(2)]
    runs = [vits[0], deits[0], vits[1], deits[1], vits[2]]
    rows = json.loads(_call("compare", *runs, "--resamples", 200, "--json").stdout)
    assert [row["runs"] for row in rows] == [[*map(str, vits)], [*map(str, deits)]]
    assert all(0 < row["auroc_sd"] < 0.05 for row in rows)
    told = _call("compare", *runs, "--resamples", 200).stdout
    assert re.search(r"vit0 +│ +3 │", told)
    assert re.search(r"deit0 +│ +2 │", told)
    assert "better" in told
    assert "With three seeds or more, its intervals cover seeds" in " ".join(told.split())
    assert "two seeds cannot tell" in " ".join(told.split())
    assert re.search(r"Two seeds are too few .* patients alone: [^ ]*deit0\.", " ".join(told.split()))
    other = {"data": {"label_rule": "benchmark"}, "host": {"precision": "bf16-mixed"}}  # what auto was there
    (vits[2] / "result.json").write_text(json.dumps(other))
    rows = json.loads(_call("compare", *vits, "--resamples", 100, "--json").stdout)
    assert [len(row["runs"]) for row in rows] == [2, 1]


@pytest.mark.slow
def test_equal_models_are_called_different_as_rarely_as_promised():
    """200 pairs of the same noise, on other patients each time: about 5 % by chance."""
    found = []
    for pair in range(200):
        splits = [
            (predictions(1.4, n=300, seed=pair, draw=draw), predictions(1.4, n=300, seed=1000 + pair, draw=draw))
            for draw in (0, 1)
        ]
        like = splits[0][1]
        one, other = (_score([split], like, 200) for split in splits)
        found.append(paired.compare(one, other).auroc)
    called = np.mean([one.low > 0 or one.high < 0 for one in found])
    assert 0.01 <= called <= 0.1


def test_seeds_of_teachers_and_members_and_where_a_run_was_made_are_no_recipe(tmp_path):
    def run(name, draw, config, noise=1.6):
        return _run(tmp_path / name, noise, draw=draw, config=config)

    teachers = [run(f"teacher{seed}", seed, f"seed: {seed}\nmodel: {{depth: 2}}\n") for seed in range(2)]
    other = run("other", 9, "seed: 0\nmodel: {depth: 3}\n")

    def taught(name, draw, by, *more):
        config = f"seed: 0\nmodel: {{teacher: {by}/checkpoints/best.ckpt}}\n" + "".join(more)
        return run(name, draw, config)

    students = [
        taught("one", 3, teachers[0], "hardware: {threads: 1}\nlogger: {}\n"),
        taught("two", 4, teachers[1], "hardware: {threads: 2}\nlogger: {csv: {x: 1}}\n"),
        taught("another", 5, other, "hardware: {threads: 1}\nlogger: {}\n"),
    ]
    others = [other, run("other1", 10, "seed: 1\nmodel: {depth: 3}\n")]

    def ensemble(name, draw, *members):
        paths = ", ".join(f"{member}/checkpoints/best.ckpt" for member in members)
        return run(name, draw, f"seed: 0\nmodel: {{members: [{paths}]}}\n")

    ensembles = [ensemble("ensemble0", 6, teachers[0], others[0]), ensemble("ensemble1", 7, others[1], teachers[1])]
    rows = json.loads(_call("compare", *students, *ensembles, "--resamples", 100, "--json").stdout)
    assert [[Path(run).name for run in row["runs"]] for row in rows] == [
        ["one", "two"],
        ["another"],
        ["ensemble0", "ensemble1"],
    ]
    shared = ensemble("ensemble2", 8, teachers[1], others[0])
    again = taught("again", 11, teachers[0])  # other rounding, say, and no other seed
    for runs, what in (
        ((*ensembles, shared), "share the member"),
        ((students[0], again), "share the seed 0, teacher="),
    ):
        done = _call("compare", *runs, "--resamples", 100)
        assert done.exit_code == DataError.exit_code
        assert what in done.stderr


def test_compressions_of_other_checkpoints_are_other_recipes(tmp_path):
    recipes = ("seed: 0\nmodel: {depth: 0}\n", "seed: 0\nmodel: {depth: 1}\n", "seed: 1\nmodel: {depth: 0}\n")
    pruned = []
    for place, recipe in enumerate(recipes):
        trained = _run(tmp_path / f"trained{place}", 1.5, draw=place, config=recipe)
        config = f"seed: 0\nckpt_path: {trained}/checkpoints/best.ckpt\ncompression: {{stages: {{prune: {{}}}}}}\n"
        pruned.append(_run(tmp_path / f"pruned{place}", 1.6, draw=10 + place, config=config))
    rows = json.loads(_call("compare", *pruned, "--resamples", 100, "--json").stdout)
    assert [[Path(run).name for run in row["runs"]] for row in rows] == [["pruned0", "pruned2"], ["pruned1"]]


def test_a_training_that_is_named_twice_is_refused(tmp_path):
    one = _run(tmp_path / "one", 1.6, config="seed: 0\n")
    copy = _run(tmp_path / "copy", 1.6, config="seed: 0\n")
    for again, reason in ((one, "is named twice"), (copy, "copy and .*one hold the same predictions")):
        done = _call("compare", one, again, "--resamples", 100)
        assert done.exit_code == DataError.exit_code
        assert re.search(reason, done.output)


def test_the_average_of_runs_is_a_row_of_its_own(tmp_path):
    runs = [
        _run(tmp_path / f"depth{depth}", 1.6, draw=depth, config=f"seed: 0\nmodel: {{depth: {depth}}}\n")
        for depth in range(3)
    ]
    *singles, average = json.loads(_call("compare", *runs, "--average", "--resamples", 200, "--json").stdout)
    assert average["averaged"]
    assert average["runs"] == [*map(str, runs)]
    assert average["auroc_change"][1] > 0  # of independent mistakes
    assert average["auroc"][0] > max(single["auroc"][0] for single in singles)
    told = _call("compare", *runs, "--average", "--resamples", 100).stdout
    assert "average of the 3 runs" in told
    assert "seeds are too few" not in told
    assert average["auroc_verdict"] == "better (these runs)"
    seeds = [_run(tmp_path / f"seed{seed}", 1.6, draw=seed, config=f"seed: {seed}\n") for seed in range(3)]
    one, average = json.loads(_call("compare", *seeds, "--average", "--resamples", 200, "--json").stdout)
    assert one["auroc_sd"] > 0
    assert average["auroc_verdict"] == "better (these runs)"
    value, low, _ = average["auroc_change"]
    assert value - low < 2 * one["auroc_sd"]  # their luck moves both
    members = ", ".join(f"{run}/checkpoints/best.ckpt" for run in runs)
    ensemble = _run(tmp_path / "ensemble", 1.2, draw=9, config=f"seed: 0\nmodel: {{members: [{members}]}}\n")
    _, ensembles = json.loads(_call("compare", runs[0], ensemble, "--resamples", 200, "--json").stdout)
    assert ensembles["shared"]
    assert ensembles["auroc_verdict"] == "better (these runs)"
    _, part = json.loads(_call("compare", ensemble, runs[0], "--resamples", 200, "--json").stdout)
    assert part["auroc_verdict"] == "worse (these runs)"
    value, low, high = ensembles["auroc_change"]
    assert part["auroc_change"] == pytest.approx([-value, -high, -low])
    twice = _call("compare", *runs, ensemble, "--average", "--resamples", 100)
    assert twice.exit_code == DataError.exit_code
    assert "which would count twice" in " ".join(twice.stderr.split())
    other = f"seed: 0\nmodel: {{members: [{runs[0]}/checkpoints/best.ckpt]}}\n"
    overlapping = _run(tmp_path / "overlapping", 1.3, draw=8, config=other)
    _, shared = json.loads(_call("compare", ensemble, overlapping, "--resamples", 100, "--json").stdout)
    assert shared["shared"]
    twice = _call("compare", ensemble, overlapping, "--average", "--resamples", 100)
    assert "which would count twice" in " ".join(twice.stderr.split())
    alone = _call("compare", runs[0], "--average")
    assert alone.exit_code == UserError.exit_code
    assert "has nothing to compare with" in alone.stderr


def test_an_average_is_of_the_same_records_in_any_order():
    one, other = predictions(1.4, draw=0), predictions(1.4, draw=1)
    order = np.random.default_rng(0).permutation(len(other.ecg_ids))
    fields = ("ecg_ids", "patient_ids", "targets_NC", "logits_NC")
    shuffled = replace(other, **{name: getattr(other, name)[order] for name in fields})
    mean = averaged([one, shuffled])
    assert np.array_equal(mean.ecg_ids, one.ecg_ids)
    assert np.allclose(mean.probabilities(), (one.probabilities() + other.probabilities()) / 2)
    softmax = [replace(part, link="softmax") for part in (one, other)]
    expected = (softmax[0].probabilities() + softmax[1].probabilities()) / 2
    assert np.allclose(averaged(softmax).probabilities(), expected)
    for unlike, said in (
        (replace(other, targets_NC=~other.targets_NC), "predict different records or labels"),
        (replace(other, ecg_ids=other.ecg_ids + 1), "predict different records or labels"),
        (softmax[1], "sigmoid and softmax models cannot be averaged"),
        (replace(other, classes=("A", "B", "C", "D", "E")), r"different classes \(A, B.*Name runs of one data\.task"),
    ):
        with pytest.raises(DataError, match=said):
            averaged([one, unlike])


def test_how_many_configurations_were_tried_is_told(tmp_path):
    final = _run(tmp_path / "final", 1.2, config="seed: 0\nn_tried: 12\n")
    other = _run(tmp_path / "other", 1.6, config="seed: 0\nmodel: {depth: 2}\n")
    assert "one of 12 configurations that were tried" in _call("evaluate", final, "--resamples", 100).stdout
    for split, said in (
        ("val", "one of 12 configurations that were tried"),
        ("test", "12 configurations were tried. "),
    ):
        assert said in _call("compare", other, final, "--resamples", 100, "--split", split).stdout
    average = f"seed: 0\nmodel: {{members: ['{final}/checkpoints/best.ckpt', '{other}/checkpoints/best.ckpt']}}\n"
    ensemble = _run(tmp_path / "ensemble", 1.1, config=average)
    assert "one of 12 configurations that were tried" in _call("evaluate", ensemble, "--resamples", 100).stdout
    within = f"seed: 0\nmodel: {{members: ['{tmp_path}/own/members/a.ckpt', '{final}/variants/prune/model.ckpt']}}\n"
    own = _run(tmp_path / "own", 1.1, config=within)  # its own folder holds a member, and a variant is another
    assert "one of 12 configurations that were tried" in _call("evaluate", own, "--resamples", 100).stdout
    _, shared = json.loads(_call("compare", final, own, "--resamples", 100, "--json").stdout)
    assert shared["shared"]
    for name, seed in (("sweep/a", 0), ("sweep/b", 1), ("sweep/c", 0)):
        (tmp_path / "sweep").mkdir(exist_ok=True)
        depth = 3 if name.endswith("c") else 2
        cell = _run(tmp_path / name, 1.6, draw=seed, config=f"seed: {seed}\nmodel: {{depth: {depth}}}\n")
    (tmp_path / "sweep" / "results.csv").touch()
    assert "one of 2 configurations that were tried" in _call("evaluate", cell, "--resamples", 100).stdout
    (tmp_path / "sweep" / "b" / "config.yaml").write_text("data: [")  # a damaged cell is no reason to stop
    assert "one of 2 configurations that were tried" in _call("evaluate", cell, "--resamples", 100).stdout
    assert "scores on that fold are optimistic" in _call("compare", other, final, "--split", "val").stdout


def test_the_commands_print_tables_or_json(tmp_path):
    weak, strong = _run(tmp_path / "weak", 1.6), _run(tmp_path / "strong", 1.2)
    done = _call("compare", weak, strong, "--resamples", 200)
    assert done.exit_code == 0, done.output
    assert "better" in done.stdout
    assert "N = 1,500 records" in done.stdout
    assert "different code" not in done.stdout
    for heading in ("difference to the first", "verdict", "reference"):
        assert heading in done.stdout
    rows = json.loads(_call("compare", weak, strong, "--resamples", 200, "--json").stdout)
    assert rows[1]["auroc_change"][0] > 0.02
    (tmp_path / "later").mkdir()
    newer = _run(tmp_path / "later" / "run", 1.2)
    (newer / "result.json").write_text(json.dumps({"data": {}, "git": "abc123", "versions": {"torch": "9.9"}}))
    told = _call("compare", weak, newer, "--resamples", 200).stdout
    assert "The runs were made with different code" in told
    assert "abc123, torch 9.9" in told
    done = _call("evaluate", strong, "--resamples", 200)
    assert done.exit_code == 0, done.output
    for text in (
        "label rule benchmark",
        "predict every class or no class for every record",
        "│ every class │",
        "ECE",
        "AUPRC",
        "sensitivity",
    ):
        assert text in done.stdout, text
    assert "that were tried" not in done.stdout
    assert "Configurations tried: 1 (set n_tried" in done.stdout
    assert "lacks data.root or data.train_folds. Name the PTB-XL folder" in done.stdout
    (tmp_path / "results.csv").touch()
    assert "one of 2 configurations that were tried" in _call("evaluate", strong, "--resamples", 200).stdout
    drawn = [tmp_path / f"{name}.png" for name in ("reliability", "abstention")]
    asked = ["--reliability", drawn[0], "--abstention", drawn[1]]
    found = json.loads(_call("evaluate", strong, "--resamples", 200, "--json", *asked).stdout)
    assert set(found["scores"]) == {*SUPERCLASSES, "macro"}
    assert all(path.stat().st_size > 10_000 for path in drawn)
    config = (strong / "config.yaml").read_text()
    (strong / "config.yaml").write_text(config + "train: true\nscored_epoch: best\n")
    assert "It also chose the epoch." in " ".join(_call("evaluate", strong, "--resamples", 100).stdout.split())


def test_the_tables_are_written_as_csv_latex_and_markdown(tmp_path):
    weak, strong = _run(tmp_path / "weak", 1.6), _run(tmp_path / "strong", 1.2)
    files = {name: tmp_path / f"table.{name}" for name in ("csv", "latex", "markdown")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    found = json.loads(_call("evaluate", strong, "--resamples", 100, "--json", *options).stdout)
    table = pd.read_csv(files["csv"], index_col="class")
    assert set(table.index) >= {*SUPERCLASSES, "macro", "every class", "no class"}
    for metric in ("auroc", "f1", "npv"):  # of both tables
        written = table.loc["MI", [metric, f"{metric}_low", f"{metric}_high"]].tolist()
        assert written == pytest.approx(found["scores"]["MI"][metric])
    value, low, high = found["scores"]["MI"]["auroc"]
    assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in files["markdown"].read_text()
    latex = files["latex"].read_text()
    assert rf"{value:.3f} {{\scriptsize [{low:.3f}, {high:.3f}]}}" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") >= 4
    assert _call("compare", weak, strong, "--resamples", 100, *options).exit_code == 0
    compared = pd.read_csv(files["csv"])
    assert compared["auroc_verdict"].tolist() == ["reference", "better (one run)"]
    assert (compared["auroc_difference_low"][1] > 0) == (compared["auroc_verdict"][1].startswith("better"))
    for option, said in ((tmp_path, "is a folder"), (tmp_path / "x" / "y.csv", "is not there")):
        refused = _call("evaluate", strong, "--csv", option)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_a_narrow_terminal_shows_every_interval_and_whole_headings(tmp_path):
    run = _run(tmp_path / "run", 1.3)
    narrow = CliRunner().invoke(app, ["evaluate", str(run), "--resamples", "100"], env={"COLUMNS": "80"}).stdout
    found = json.loads(_call("evaluate", run, "--resamples", 100, "--json").stdout)
    for name in (*SUPERCLASSES, "macro"):
        for value, low, high in found["scores"][name].values():
            assert f" {value:.3f} " in narrow
            assert f"[{low:.3f}, {high:.3f}]" in narrow
    for heading in ("positive", "sensitivity", "specificity", "calibration", "Brier score", "records kept"):
        assert heading in narrow
    assert max(map(len, narrow.splitlines()[1:])) <= 80  # the first names the folder


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
    train = (table["strat_fold"] <= 8).to_numpy()
    ids, truth = ids[~train], truth[~train]
    one = Predictions(SUPERCLASSES, "sigmoid", ids, ids, truth, np.zeros(truth.shape))
    (floor,) = age_and_sex_alone([one], cohort_of(tmp_path), range(1, 9))
    features = np.stack([table["age"].clip(upper=90) / 100, table["sex"]], axis=1)
    known = LogisticRegression(C=np.inf, tol=1e-8).fit(features[train], sick[train])
    expected = known.decision_function(features[~train])
    assert np.allclose(floor.logits_NC[:, SUPERCLASSES.index("MI")], expected, atol=1e-2)
    assert np.allclose(floor.logits_NC[:, SUPERCLASSES.index("NORM")], -expected, atol=1e-2)
    assert (floor.logits_NC[:, SUPERCLASSES.index("HYP")] < -5).all()  # nobody has it
    with pytest.raises(DataError, match="no labelled record of the training folds"):
        age_and_sex_alone([one], cohort_of(tmp_path), [])


def test_mistakes_are_one_sentence(tmp_path, synthetic_root):
    run, no_config = _run(tmp_path / "run", 1.3), _run(tmp_path / "no_config", 1.3)
    (no_config / "config.yaml").unlink()
    of_others = _run(tmp_path / "of_others", 1.3, seed=1)
    other_val = _run(tmp_path / "other_val", 1.3, draw=1)
    val, test = predictions(1.3, seed=1), read_predictions(other_val / "predictions.csv")["test"]
    write_predictions(other_val / "predictions.csv", {"val": val, "test": test})
    assert _call("compare", run, other_val, "--resamples", 100).exit_code == 0
    unreadable, of_nothing = _run(tmp_path / "unreadable", 1.3, draw=2), _run(tmp_path / "of_nothing", 1.3, draw=3)
    (unreadable / "config.yaml").write_text("data: [")
    (of_nothing / "result.json").write_text("{}")
    for arguments, said in (
        (
            ("compare", run, of_others),
            f"{of_others} and {run}: the runs predict different records or labels (1500 and 1500",
        ),
        (
            ("compare", run, other_val, "--average"),
            f"{other_val} and {run}: the runs predict different records or labels (1500 and 1500",
        ),
        (("evaluate", tmp_path), "predictions.csv is not there"),
        (("evaluate", run, "--split", "train"), "--split train: allowed are test, val"),
        (("compare", run, tmp_path / "none"), "none is not there. Name the folder of a run"),
        (
            ("evaluate", run, "--root", tmp_path),
            "is not a PTB-XL folder: ptbxl_database.csv and scp_statements.csv are missing",
        ),
        (("evaluate", run, "--reliability", tmp_path / "none" / "a.png"), "is not there. Create it"),
        (("evaluate", unreadable), "config.yaml cannot be read"),
        (("evaluate", of_nothing), "does not name the run's data"),
        (("evaluate", run, "--root", synthetic_root), "has no record 5001. Name the data folder of this run"),
        (("evaluate", no_config, "--root", tmp_path), "config.yaml lacks data.root or data.train_folds"),
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
    (tmp_path / "scp_statements.csv").write_bytes((synthetic_root / "scp_statements.csv").read_bytes())
    groups = {
        (group.by, group.name): group for group in subgroups(Choices.fit(one).apply(one), one, cohort_of(tmp_path), 100)
    }
    men, women = groups["sex", "male"], groups["sex", "female"]
    assert (men.n_records, men.classes, men.f1, men.auroc) == (10, (), None, None)
    assert women.n_records == len(ids) - 10
    assert women.auroc.low < women.auroc.value < women.auroc.high
    assert groups["noise", "flagged"].n_records == 0
    assert groups["age", "40–64"].n_records == len(ids)
    assert (men.common, women.common) == ((), women.classes)  # men, of whom no class counts, silence no other


def test_groups_are_told_apart_as_the_table_codes_them(tmp_path, synthetic_root):
    n = 400
    ids = np.arange(1, n + 1)
    truth = np.tile(np.array([[True, False], [False, True]]), (n // 2, 1))
    truth[:, 1] &= ids > 200  # of the second class 20 among the first 240 records, and 80 behind
    logits = 2.0 * truth - 1 + np.random.default_rng(0).normal(size=truth.shape)
    one = Predictions(("A", "B"), "sigmoid", ids, ids, truth, logits)
    columns = {
        "ecg_id": ids,
        "patient_id": ids,
        "strat_fold": 9,
        "scp_codes": "{'NORM': 100.0}",
        "filename_lr": [f"records100/{one}" for one in ids],
        "filename_hr": [f"records500/{one}" for one in ids],
        "age": [*[39.0, 40.0, 64.0, 65.0, 79.0, 80.0, 300.0, np.nan], *[50.0] * (n - 8)],
        "device": [" A  B ", "A B", None, *["C"] * (n - 3)],
        "sex": (ids > 240).astype(int),
        "baseline_drift": [" , I-V3", *[None] * (n - 1)],
        "static_noise": ["", "  ", "all", *[None] * (n - 3)],
        "burst_noise": None,
        "electrodes_problems": None,
    }
    pd.DataFrame(columns).to_csv(tmp_path / "ptbxl_database.csv", index=False)
    (tmp_path / "scp_statements.csv").write_bytes((synthetic_root / "scp_statements.csv").read_bytes())
    pd.DataFrame({"ecg_id": ids, "origin_100hz": np.where(ids <= 100, "native", "derived")}).to_csv(
        tmp_path / "PROVENANCE.csv", index=False
    )
    groups = {
        (group.by, group.name): group for group in subgroups(Choices.fit(one).apply(one), one, cohort_of(tmp_path), 100)
    }
    counted = {key: group.n_records for key, group in groups.items()}
    assert counted["age", "under 40"] == 1
    assert counted["age", "40–64"] == 2 + n - 8
    assert (counted["age", "65–79"], counted["age", "80 and over"]) == (2, 2)  # 300: more than 89; one is not known
    assert (counted["device", "A B"], counted["device", "not given"], counted["device", "C"]) == (2, 1, n - 3)
    assert (counted["noise", "flagged"], counted["noise", "clean"]) == (2, n - 2)
    assert (counted["origin", "native"], counted["origin", "derived"]) == (100, 300)
    men, women = groups["sex", "male"], groups["sex", "female"]
    assert (men.positives, women.positives) == ({"A": 120, "B": 20}, {"A": 80, "B": 80})
    assert men.classes == women.classes == men.common == ("A", "B")  # twenty are enough
    one.targets_NC[one.ecg_ids == 202, 1] = False
    groups = {
        (group.by, group.name): group for group in subgroups(Choices.fit(one).apply(one), one, cohort_of(tmp_path), 100)
    }
    men, women = groups["sex", "male"], groups["sex", "female"]
    assert (men.classes, women.classes) == (("A",), ("A", "B"))  # nineteen are not
    assert men.common == women.common == ("A",)
    assert men.auroc == men.auroc_common
    assert women.auroc_common != women.auroc
    only_a = Choices.fit(one).apply(one).probabilities_NC[ids > 240, 0]
    assert women.auroc_common.value == pytest.approx(roc_auc_score(truth[ids > 240, 0], only_a))


def test_a_sweep_stands_for_its_runs_and_is_drawn(tmp_path):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    cells = [
        _run(sweep / name, 1 + place / 4, config=f"seed: 0\nmodel: {{depth: {place}}}\n")
        for place, name in enumerate(("0_vit", "2_vit", "10_deit"))
    ]
    (sweep / "results.csv").touch()
    assert named_runs([sweep]) == cells
    assert named_runs([sweep / "*vit"]) == cells[:2]
    figure = tmp_path / "a.png"
    done = _call("compare", sweep, "--resamples", 100, "--figure", figure)
    assert done.exit_code == 0, done.stderr
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "name a .png file" in _call("compare", sweep, "--resamples", 100, "--figure", tmp_path / "a.abc").stderr
