"""The synthetic data set: layout, labels, folds and, above all, that a record shows what its label says."""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecg_lightning.data import heart_model as hm
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.errors import DataError

CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
QUIET = hm.Noise(wander_mv=0.0, muscle_mv=0.0, mains_mv=0.0)
LEAD = {name: i for i, name in enumerate(hm.LEADS)}


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def read_table(root: Path) -> pd.DataFrame:
    """Reads the table with one boolean column per class."""
    table = pd.read_csv(root / "ptbxl_database.csv", index_col="ecg_id")
    statements = pd.read_csv(root / "scp_statements.csv", index_col=0)
    class_of = statements[statements.diagnostic == 1].diagnostic_class.to_dict()
    codes = table.scp_codes.map(ast.literal_eval)
    assert set().union(*codes) <= set(statements.index)
    for name in CLASSES:
        table[name] = codes.map(lambda c, name=name: name in {class_of.get(code) for code in c})
    return table


def read_signals(root: Path, name: str) -> np.ndarray:
    return np.fromfile(root / f"{name}.dat", "<i2").reshape(-1, 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "parent" / "ptbxl"
    write_synthetic_ptbxl(root, n_records=600)
    return root


@pytest.fixture(scope="module")
def both_rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("both") / "ptbxl"
    write_synthetic_ptbxl(root, n_records=12, seed=3, sampling_rates=(500, 100))
    return root


# --- folder -------------------------------------------------------------------------------------------------------


def test_layout_is_that_of_ptbxl(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "ptbxl_database.csv",
        "scp_statements.csv",
        "records100",
        "SHA256SUMS.txt",
        "SYNTHETIC.json",
    }
    table = read_table(folder)
    assert list(table.index) == list(range(1, 601))
    assert table.filename_lr[7] == "records100/00000/00007_lr"
    assert table.filename_hr[7] == "records500/00000/00007_hr"
    for name in table.filename_lr:
        assert (folder / f"{name}.dat").stat().st_size == 24_000
        assert (folder / f"{name}.hea").is_file()
    assert not list(folder.parent.glob(".*")), "the folder of the build is left behind"


def test_records_beyond_999_go_to_the_next_subfolder(tmp_path: Path) -> None:
    write_synthetic_ptbxl(tmp_path / "s", n_records=1001)
    assert (tmp_path / "s/records100/00000/00999_lr.dat").is_file()
    assert (tmp_path / "s/records100/01000/01000_lr.dat").is_file()
    assert read_table(tmp_path / "s").filename_lr.iloc[-1] == "records100/01000/01001_lr"


def test_checksum_list_names_every_other_file(folder: Path) -> None:
    lines = (folder / "SHA256SUMS.txt").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = contents(folder)
    del files["SHA256SUMS.txt"]
    assert listed == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@pytest.mark.parametrize("rate", [100, 500])
def test_wfdb_reads_the_records(both_rates: Path, rate: int) -> None:
    wfdb = pytest.importorskip("wfdb")
    for name in read_table(both_rates)["filename_lr" if rate == 100 else "filename_hr"]:
        record = wfdb.rdrecord(str(both_rates / name), physical=False)
        assert (record.fs, record.sig_len, tuple(record.sig_name)) == (rate, 10 * rate, hm.LEADS)
        assert record.checksum == record.calc_checksum()
        assert record.init_value == record.d_signal[0].tolist()
        physical_mv = wfdb.rdrecord(str(both_rates / name)).p_signal
        np.testing.assert_allclose(physical_mv, read_signals(both_rates, name) / 1000, atol=1e-9)


def test_both_rates_show_the_same_beats(both_rates: Path) -> None:
    for _, row in read_table(both_rates).iterrows():
        low, high = read_signals(both_rates, row.filename_lr), read_signals(both_rates, row.filename_hr)
        assert np.corrcoef(low[:, LEAD["V5"]], high[::5, LEAD["V5"]])[0, 1] > 0.9


def test_bytes_depend_on_the_arguments_only(folder: Path, tmp_path: Path) -> None:
    write_synthetic_ptbxl(tmp_path / "same", n_records=600)
    assert contents(tmp_path / "same") == contents(folder)
    write_synthetic_ptbxl(tmp_path / "other", n_records=20, seed=1)
    assert (
        contents(tmp_path / "other")["records100/00000/00001_lr.dat"]
        != contents(folder)["records100/00000/00001_lr.dat"]
    )


def test_a_record_does_not_depend_on_the_number_of_records(folder: Path, tmp_path: Path) -> None:
    write_synthetic_ptbxl(tmp_path / "short", n_records=37)
    long, short = contents(folder), contents(tmp_path / "short")
    assert all(long[name] == short[name] for name in short if name.startswith("records100"))
    assert long["ptbxl_database.csv"].startswith(short["ptbxl_database.csv"])


def test_second_call_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    write_synthetic_ptbxl(folder, n_records=600)
    assert before == {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    write_synthetic_ptbxl(tmp_path, n_records=2)
    assert json.loads((tmp_path / "SYNTHETIC.json").read_text())["n_records"] == 2


def test_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds other files"):
        write_synthetic_ptbxl(tmp_path, n_records=2)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}
    with pytest.raises(DataError, match="is a file"):
        write_synthetic_ptbxl(tmp_path / "thesis.txt", n_records=2)


def test_other_parameters_and_missing_files_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "s"
    write_synthetic_ptbxl(root, n_records=2)
    with pytest.raises(DataError, match="n_records 2 instead of 3"):
        write_synthetic_ptbxl(root, n_records=3)
    (root / "records100/00000/00002_lr.dat").unlink()
    with pytest.raises(DataError, match="missing files"):
        write_synthetic_ptbxl(root, n_records=2)
    for marker in ("{", "[" * 60_000, "[1]", "x" * 70_000):
        (root / "SYNTHETIC.json").write_text(marker)
        with pytest.raises(DataError, match="another synthetic data set"):
            write_synthetic_ptbxl(root, n_records=2)


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "it needs 56,192 bytes, and .* are free on"), (errno.EACCES, "Permission denied; free some space")],
)
def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("ecg_lightning.data.synthetic._write_csv", fail)
    with pytest.raises(DataError, match=rf"{tmp_path}/s.*{says}"):
        write_synthetic_ptbxl(tmp_path / "s", n_records=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [{"n_records": 0}, {"n_records": 100_000}, {"seed": -1}, {"sampling_rates": (250,)}]
)
def test_bad_arguments_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(DataError):
        write_synthetic_ptbxl(tmp_path / "s", **arguments)  # type: ignore[arg-type]


def test_two_processes_may_write_the_same_folder(tmp_path: Path) -> None:
    root = tmp_path / "s"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_synthetic_ptbxl, args=(root, 150)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    write_synthetic_ptbxl(tmp_path / "alone", 150)
    assert contents(root) == contents(tmp_path / "alone")


# --- labels -------------------------------------------------------------------------------------------------------


def test_class_shares_are_those_of_ptbxl(folder: Path) -> None:
    table = read_table(folder)
    classes = table[list(CLASSES)]
    labelled = classes[classes.any(axis=1)]
    assert 1 - len(labelled) / len(table) == pytest.approx(0.02, abs=0.005)
    for name, share in {"NORM": 0.445, "MI": 0.256, "STTC": 0.245, "CD": 0.229, "HYP": 0.124}.items():
        assert labelled[name].mean() == pytest.approx(share, abs=0.02), name
    count = labelled.sum(axis=1)
    for number, share in {1: 0.76, 2: 0.19, 3: 0.04, 4: 0.007}.items():
        assert (count == number).mean() == pytest.approx(share, abs=0.015), number
    assert not (table.NORM & (table.MI | table.STTC | table.HYP)).any()
    assert (table.NORM & table.CD).any()


def test_likelihoods_vary(folder: Path) -> None:
    seen = Counter(value for codes in read_table(folder).scp_codes.map(ast.literal_eval) for value in codes.values())
    assert set(seen) == {100.0, 80.0, 50.0, 35.0, 15.0, 0.0}


@pytest.mark.parametrize("seed", range(4))
def test_each_fold_has_each_class_from_100_records_on(tmp_path: Path, seed: int) -> None:
    write_synthetic_ptbxl(tmp_path / "s", n_records=100, seed=seed)
    table = read_table(tmp_path / "s")
    assert table.groupby("strat_fold")[list(CLASSES)].any().to_numpy().all()
    assert sorted(table.strat_fold.unique()) == list(range(1, 11))


def test_folds_are_even_and_keep_patients_together(folder: Path) -> None:
    table = read_table(folder)
    assert (table.groupby("patient_id").strat_fold.nunique() == 1).all()
    assert (table.groupby("patient_id")[["age", "sex"]].nunique() == 1).all().all()
    assert len(table) / table.patient_id.nunique() == pytest.approx(1.15, abs=0.06)
    assert table.strat_fold.value_counts(normalize=True).between(0.085, 0.115).all()


# --- signals ------------------------------------------------------------------------------------------------------


def test_limb_leads_obey_einthoven_and_goldberger(folder: Path) -> None:
    for name in read_table(folder).filename_lr[:50]:
        i, ii, iii, avr, avl, avf = read_signals(folder, name).T[:6].astype(int)
        assert (iii == ii - i).all()
        assert np.abs(2 * avr + i + ii).max() <= 1
        assert np.abs(2 * avl - i + iii).max() <= 1
        assert np.abs(2 * avf - ii - iii).max() <= 1


def test_amplitudes_are_physiological(folder: Path) -> None:
    signals_mv = np.stack([read_signals(folder, name) for name in read_table(folder).filename_lr]) / 1000
    spans_mv = np.ptp(signals_mv, axis=1).max(axis=1)  # the largest lead of each record
    assert np.quantile(spans_mv, 0.01) > 0.5
    assert 1.5 < np.median(spans_mv) < 3.5
    assert spans_mv.max() < 10


def test_lead_matrix_matches_its_published_inverse() -> None:
    # Edenbrandt and Pahlm 1988, table of the inverse Dower matrix; columns V1..V6, I, II.
    published = [
        [-0.172, -0.074, 0.122, 0.231, 0.239, 0.194, 0.156, -0.010],
        [0.057, -0.019, -0.106, -0.022, 0.041, 0.048, -0.227, 0.887],
        [-0.229, -0.310, -0.246, -0.063, 0.055, 0.108, 0.022, 0.102],
    ]
    inverse = np.linalg.pinv(hm.DOWER_83)[:, [2, 3, 4, 5, 6, 7, 0, 1]]
    np.testing.assert_allclose(inverse, published, atol=0.002)


def mean_beat(codes: dict[str, float], patients: int = 30, rhythm: str = "SR") -> np.ndarray:
    """Draws records of the given findings and averages their beats around the R peak of the model.

    Returns:
        One beat per patient in mV, shape (patients, 350, 12): -0.3 s to 0.4 s at 500 Hz.
    """
    beats = []
    for number in range(patients):
        patient = hm.draw_patient(np.random.default_rng(number), healthy=True)
        heart = hm.draw_heart(patient, codes, hm.RHYTHMS[rhythm], np.random.default_rng(1000 + number))
        heart.rr_jitter = heart.rr_breathing = 0.0
        signals = hm.draw_signal(heart, patient, QUIET, 500, np.random.default_rng(2000 + number)) / 1000
        # The same random numbers as inside draw_signal: breathing first, then the beats.
        rng = np.random.default_rng(2000 + number)
        r_peaks_s, _ = hm._beats(heart, float(rng.uniform(0.18, 0.35)), rng)
        starts = [round((r - 0.3) * 500) for r in r_peaks_s if 0.3 < r < 9.5]
        beats.append(np.mean([signals[start : start + 350] for start in starts], axis=0))
    return np.stack(beats)


def window(beats: np.ndarray, leads: str, start_s: float, end_s: float) -> np.ndarray:
    """Cuts out leads and a time after the R peak, against the level just before the QRS; shape (patients, T, leads)."""
    base = beats[:, round((0.3 - 0.075) * 500), :][:, None]
    columns = [LEAD[name] for name in leads.split()]
    return (beats - base)[:, round((0.3 + start_s) * 500) : round((0.3 + end_s) * 500)][..., columns]


def st_mv(beats: np.ndarray, leads: str) -> float:
    return float(window(beats, leads, 0.10, 0.12).mean())


def t_mv(beats: np.ndarray, leads: str) -> float:
    return float(window(beats, leads, 0.22, 0.30).mean())


def qrs_s(beats: np.ndarray) -> float:
    """Measures how long the leads change fast: a proxy of the QRS duration."""
    speed = np.abs(np.diff(window(beats, "I V1 V2 V5 V6", -0.12, 0.16), axis=1)).sum(axis=2)
    return float((speed > 0.10 * speed.max(axis=1, keepdims=True)).sum(axis=1).mean() / 500)


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return mean_beat({})


def test_normal_beat(normal: np.ndarray) -> None:
    assert 0.07 < qrs_s(normal) < 0.11
    assert t_mv(normal, "I II V4 V5 V6") > 0.1
    peaks = window(normal, "V1 V2 V3 V4", -0.05, 0.05).max(axis=1).mean(axis=0)
    assert (np.diff(peaks) > 0).all(), "R grows from V1 to V4"
    troughs = window(normal, "V1 V6", -0.05, 0.05).min(axis=1).mean(axis=0)
    assert troughs[0] < -0.6 < troughs[1]


@pytest.mark.parametrize(
    ("code", "leads"), [("IMI", "II III AVF"), ("ASMI", "V1 V2 V3"), ("LMI", "I AVL V6"), ("ALMI", "V3 V4 V5")]
)
def test_infarction_has_q_waves_and_raised_st_in_its_leads(normal: np.ndarray, code: str, leads: str) -> None:
    infarct = mean_beat({code: 1.0})
    early = [window(beats, leads, -0.05, -0.012).min(axis=1).mean() for beats in (infarct, normal)]
    assert early[0] < early[1] - 0.15
    assert st_mv(infarct, leads) > st_mv(normal, leads) + 0.03


@pytest.mark.parametrize(("code", "leads"), [("ISC_", "II V5 V6"), ("ISCAL", "I V4 V5"), ("ISCIN", "III AVF")])
def test_ischaemia_lowers_st_and_inverts_t(normal: np.ndarray, code: str, leads: str) -> None:
    ischaemic = mean_beat({code: 1.0})
    assert st_mv(ischaemic, leads) < st_mv(normal, leads) - 0.07
    assert t_mv(ischaemic, leads) < 0 < t_mv(normal, leads)


def test_flat_t_and_st_depression_without_territory(normal: np.ndarray) -> None:
    assert abs(t_mv(mean_beat({"NDT": 0.8}), "II V5")) < 0.4 * t_mv(normal, "II V5")
    assert st_mv(mean_beat({"NST_": 1.0}), "II V5") < st_mv(normal, "II V5") - 0.07


def test_left_bundle_branch_block(normal: np.ndarray) -> None:
    block = mean_beat({"CLBBB": 0.8})
    assert qrs_s(block) > max(0.12, qrs_s(normal) + 0.04)
    assert window(block, "V6", -0.08, -0.03).min() > -0.1, "no septal q"
    assert window(block, "V1", -0.05, 0.1).min(axis=1).mean() < -0.8
    assert t_mv(block, "I V6") < 0 < t_mv(block, "V1 V2")


def test_right_bundle_branch_block(normal: np.ndarray) -> None:
    block = mean_beat({"CRBBB": 0.8})
    assert qrs_s(block) > max(0.11, qrs_s(normal) + 0.02)
    assert window(block, "V1", 0.04, 0.09).max(axis=1).mean() > 0.3, "R'"
    assert window(block, "I V6", 0.04, 0.09).min(axis=1).mean() < -0.2, "broad S"
    incomplete = mean_beat({"IRBBB": 1.0})
    assert window(incomplete, "V1", 0.03, 0.07).max(axis=1).mean() > 0.15
    assert qrs_s(incomplete) < qrs_s(block)


def test_left_anterior_block_turns_the_axis() -> None:
    axes = {}
    for code in ("", "LAFB"):
        for number in range(20):
            patient = hm.draw_patient(np.random.default_rng(number), healthy=True)
            heart = hm.draw_heart(patient, {code: 0.9}, hm.RHYTHMS["SR"], np.random.default_rng(number))
            axes.setdefault(code, []).append(hm.qrs_axis_deg(heart, patient))
    assert 0 < np.median(axes[""]) < 75
    assert -80 < np.median(axes["LAFB"]) < -40


def test_first_degree_block_moves_p_away_from_the_qrs(normal: np.ndarray) -> None:
    late = mean_beat({"1AVB": 0.8})
    p_peak_s = [0.3 - beats[:, :125, LEAD["II"]].argmax(axis=1).mean() / 500 for beats in (late, normal)]
    assert p_peak_s[0] > p_peak_s[1] + 0.06


def test_hypertrophy_meets_sokolow_lyon(normal: np.ndarray) -> None:
    # Sokolow and Lyon 1949: S in V1 plus R in V5 or V6 of 3.5 mV and more.
    def sokolow_mv(beats: np.ndarray) -> np.ndarray:
        return window(beats, "V5 V6", -0.05, 0.06).max(axis=(1, 2)) - window(beats, "V1", -0.05, 0.06).min(axis=(1, 2))

    thick = mean_beat({"LVH": 0.9})
    assert (sokolow_mv(thick) > 3.5).mean() > 0.6
    assert (sokolow_mv(normal) > 3.5).mean() < 0.25
    assert t_mv(thick, "V5 V6") < t_mv(normal, "V5 V6")
    right = mean_beat({"RVH": 1.0})
    assert window(right, "V1", -0.05, 0.05).max(axis=1).mean() > 0.5


def test_fibrillation_has_irregular_beats_and_no_p() -> None:
    rng = np.random.default_rng(0)
    patient = hm.draw_patient(rng, healthy=False)
    heart = hm.draw_heart(patient, {}, hm.RHYTHMS["AFIB"], rng)
    _, rr_s = hm._beats(heart, 0.25, rng)
    assert np.std(rr_s) / np.mean(rr_s) > 0.1
    assert heart.flutter_mv > 0
