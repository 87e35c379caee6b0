"""The examples of CONTRIBUTING.md, followed in a copy of the repository."""

import ast
import csv
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from recordings import digital, heartbeats, write_wfdb
from tiny import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (Add a.*)\n((?:.|\n)*?)(?=^## )", TEXT, re.MULTILINE))
BLOCK = re.compile(r"```(\w+)\n((?:.|\n)*?)```")
PLACES = {"Add a headline metric": 2}


def blocks(section, *languages):
    return [text for language, text in BLOCK.findall(SECTIONS[section]) if language in languages]


def places(section):
    """The file that each block names in its first line, the name in it that it is added to, and its text."""
    for text in blocks(section, "python", "yaml"):
        first, _, rest = text.partition("\n")
        path, _, name = first.removeprefix("# ").partition(", in ")
        yield path, name, rest


def follow(section, root):
    """Make new files, add to the end of those that are there, or to the table that is named."""
    for path, name, text in places(section):
        file = root / path
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        if name:
            lines = before.splitlines(keepends=True)
            table = next(node for node in ast.parse(before).body if name in _assigned(node))
            lines.insert(table.end_lineno - 1, text)  # before its closing bracket
            file.write_text("".join(lines), encoding="utf-8")
        else:
            file.write_text(f"{before}\n\n{text}" if before else text, encoding="utf-8")


def _assigned(node):
    targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
    return {one.id for one in targets if isinstance(one, ast.Name)}


def folder_of_clinic(folder):
    """60 records with the table of the example, which names no folds."""
    rows = []
    for number in range(60):
        values_CT = digital(heartbeats(np.arange(1000) / 100, 50 + number))
        write_wfdb(folder, values_CT, name=f"r{number:02}")
        rows.append([f"r{number:02}", f"p{number // 2}", number % 2, int(number % 3 == 0)])
    with (folder / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "patient", "fibrillation", "paced"], *rows])


def test_there_is_an_example_of_each_kind():
    assert len(SECTIONS) == 5
    for section in SECTIONS:
        found = blocks(section, "python", "yaml")
        assert len(found) == PLACES.get(section, 3), section
        assert sum(len(text.splitlines()) - 1 for text in found) <= 40, section  # without the file's name


@pytest.mark.slow
@pytest.mark.parametrize("section", [*SECTIONS])
def test_each_example_works(section, tmp_path):
    copy = tmp_path / "copy"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "local"))
    for name in ("train.py", "compress.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    follow(section, copy)
    folder = tmp_path / "clinic"
    folder.mkdir()
    if "DIR" in SECTIONS[section]:
        folder_of_clinic(folder)
    (command,) = blocks(section, "sh")
    program, *settings = command.replace("DIR", str(folder)).split()
    assert program == "python"
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    small = ["logger=none", "callbacks.figures=false", "hydra.run.dir=run"]
    small += ["compression.latency.batches=[1]", "compression.latency.rounds=1", "compression.n_resamples=100"]
    if "data=" not in command:
        small += ["data.n_records=100"]
    done = subprocess.run(
        [sys.executable, *settings, *small], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (copy / "run" / "result.json").is_file()
    if "DIR" in SECTIONS[section]:  # what knows a data set by its settings: evaluation, compression
        again = ["ckpt_path=run/checkpoints/best.ckpt", "data=clinic", f"data.root={folder}", *small[:2]]
        for program, own in (("train.py", ["train=false"]), ("compress.py", ["compression=none", *small[3:]])):
            command = [sys.executable, program, *own, *again, f"hydra.run.dir={program}-run"]
            done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
