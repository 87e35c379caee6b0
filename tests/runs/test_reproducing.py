"""`ecg-lightning reproduce` trains what is not finished, and compares."""

import json
import os
import subprocess
import sys

import pytest
from tiny import ROOT

from ecg_lightning.commands.reproduction import reproduction_rows


@pytest.mark.slow
def test_the_command_trains_what_is_not_finished_and_compares(synthetic_root, tmp_path):
    small = ["trainer.max_epochs=1", "model.channels=8", "data.batch_size=16", "hardware.threads=1"]
    output = tmp_path / "it's"

    def reproduce(n_seeds, *settings):
        command = ["reproduce", "--root", str(synthetic_root), "--output", str(output), "--seeds", str(n_seeds)]
        return subprocess.run(
            [sys.executable, "-c", "from ecg_lightning.commands.cli import app; app()", *command]
            + [part for one in (*small, *settings) for part in ("--setting", one)],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip

    done = reproduce(2)
    assert done.returncode == 0, done.stderr
    assert "not comparable" in " ".join(done.stdout.split())
    cells = sorted(output.glob("*/result.json"))
    assert [path.parent.name for path in cells] == [f"resnet1d_wang-superdiagnostic-{seed}" for seed in range(2)]
    written = cells[1].stat().st_mtime_ns
    stopped = json.loads(cells[0].read_text()) | {"status": "interrupted"}
    cells[0].write_text(json.dumps(stopped))
    again = reproduce(2)
    assert again.returncode == 0, again.stderr
    assert cells[1].stat().st_mtime_ns == written
    went_on = json.loads(cells[0].read_text())
    assert went_on["status"] == "ok"
    assert "ckpt_path=last" in went_on["overrides"]
    (row,) = reproduction_rows(output)
    assert row["seeds"] == 2
    assert reproduce(1, "hardware.accelerator=cpu").returncode == 0  # which changes nothing that was trained
    refused = reproduce(3, "model.dropout=0.1")
    assert not (output / "resnet1d_wang-superdiagnostic-2").exists()
    assert refused.returncode == 2
    assert "finished run with other settings (model.dropout=0.5, not 0.1)" in refused.stderr
