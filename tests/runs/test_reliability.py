"""The parts of benchmarks/reliability.py that decide whether a try survived."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from reliability.page import BEGIN, END, write_page
from reliability.programs import run
from reliability.states import difference
from reliability.tally import Tally, write_area

STATE = {
    "epoch": 2,
    "global_step": 20,
    "state_dict": {"weight": torch.tensor([1.0, float("nan")])},
    "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
    "lr_schedulers": [{"_last_lr": [0.01]}],
}
RESULT = {"status": "ok", "metrics": {"val": {"f1_macro": 0.5}}, "chosen": {"thresholds": [0.4]}, "score": 0.5}


def write_run(
    folder: Path, state: dict[str, Any] = STATE, result: dict[str, Any] = RESULT, rows: str = "a,b\n"
) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("last", "best"):
        torch.save(state, folder / "checkpoints" / f"{name}.ckpt")
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "predictions.csv").write_text(rows)
    return folder


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    assert difference(write_run(tmp_path / "one"), write_run(tmp_path / "other")) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("global_step",), 19),
        (("state_dict", "weight"), torch.tensor([1.0 + 2**-23, float("nan")])),
        (("state_dict", "weight"), torch.tensor([-1.0, float("nan")])),
        (("optimizer_states", 0, "state", 0, "exp_avg"), torch.tensor([0.0, -0.0])),
        (("lr_schedulers", 0, "_last_lr"), [0.01, 0.01]),
    ],
)
def test_one_bit_of_the_state_is_a_difference(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    state = copy.deepcopy(STATE)
    node: Any = state
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert path[0] in (difference(write_run(tmp_path / "one", state), write_run(tmp_path / "other")) or "")


def test_scores_and_predictions_are_compared(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    assert "chosen" in (difference(write_run(tmp_path / "one", result={**RESULT, "chosen": {}}), other) or "")
    assert "predictions" in (difference(write_run(tmp_path / "two", rows="a,c\n"), other) or "")


def test_a_program_is_stopped_when_its_time_is_up(tmp_path: Path) -> None:
    ended = run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", timeout=0.5)
    assert ended.code is None
    assert ended.seconds < 10


def test_the_page_holds_what_was_counted(tmp_path: Path) -> None:
    tally = Tally("a kind", "a promise")
    tally.count(None)
    tally.count("a fault", "a command")
    tally.figures = {"ratio": 1.5}
    write_area("kills", [tally], tmp_path / "json", started=0.0)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(page, tmp_path / "json", ["kills", "signals"])
    text = page.read_text()
    assert "| kills | a kind | 2 | 1 | 1 | ratio 1.5 |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
