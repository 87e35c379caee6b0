"""A disk that gets full: the sentence, the files that were there, and the same command once there is room."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from reliability import products
from reliability.data import training
from reliability.programs import Ended, Program, read_json, run, shown, train
from reliability.tally import Tally

_AMPLE = "200m"
_SMALL_KB = (40, 120, 200, 280)  # a run's files are about 300 kB


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Fill a small tmpfs under trainings, a sweep, an export and a cache."""
    says = Tally("full disk: the first sentence", "names the file, the mount and the bytes; no traceback")
    keeps = Tally("full disk: previous files", "each is whole")
    goes_on = Tally("full disk: the same command with more room", "finishes")
    tallies = [says, keeps, goes_on]
    try:
        with _tmpfs(folder / "probe", "64k"):
            pass
    except (OSError, subprocess.CalledProcessError):
        for tally in tallies:
            tally.not_measured = "mounting a tmpfs needs root"
        return tallies
    settings = [*training(folder), "trainer.max_epochs=4"]
    again = [f"ckpt_path={resume}"] if resume == "auto" else []
    made = products.make(folder / "made", exported=False)
    cases: list[tuple[str, Callable[[], tuple[str | None, str | None, str | None, list[str]]]]] = [
        *(
            (f"training on {size} kB", lambda size=size: _training(folder / f"t{size}", settings, again, size))
            for size in _SMALL_KB
        ),
        ("training, filled in the middle", lambda: _filled(folder / "filled", settings, again)),
        ("sweep", lambda: _sweep(folder / "sweep", settings)),
        ("export", lambda: _export(folder / "export", made.checkpoint, 60)),
        ("export, almost enough room", lambda: _export(folder / "export2", made.checkpoint, 160)),
        ("cache", lambda: _cache(folder / "cached", settings)),
        ("synthetic data", lambda: _synthetic(folder / "synthetic")),
    ]
    for name, case in (cases * (1 + tries // len(cases)))[:tries]:
        said, kept, finished, command = case()
        says.count(said and f"{name}: {said}", shown(command))
        keeps.count(kept and f"{name}: {kept}", shown(command))
        goes_on.count(finished and f"{name}: {finished}", shown(command))
    return tallies


@contextmanager
def _tmpfs(mount: Path, size: str) -> Iterator[Path]:
    mount.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)], check=True, capture_output=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=False)


def _enlarge(mount: Path) -> None:
    subprocess.run(["mount", "-o", f"remount,size={_AMPLE}", str(mount)], check=True)


Outcome = tuple[str | None, str | None, str | None, list[str]]


def _try(mount: Path, folder: Path, command: list[str]) -> Outcome:
    """Run a command on a mount that is too small, then again with room."""
    first = run(command, folder / "first.log")
    kept = _damaged(mount)
    _enlarge(mount)
    again = run(command, folder / "again.log")
    return _fault_of_sentence(first, folder / "first.log", mount), kept, _not_finished(again), command


def _training(folder: Path, settings: list[str], again: list[str], size_kb: int) -> Outcome:
    with _tmpfs(folder / "mount", f"{size_kb}k") as mount:
        return _try(mount, folder, train(*settings, f"hydra.run.dir={mount / 'run'}", *again))


def _filled(folder: Path, settings: list[str], again: list[str]) -> Outcome:
    with _tmpfs(folder / "mount", "2m") as mount:
        command = train(*settings, f"hydra.run.dir={mount / 'run'}", *again)
        program = Program(command, folder / "first.log")
        program.wait_until((mount / "run" / "checkpoints" / "last.ckpt").is_file)
        _fill(mount / "filler")
        first = program.wait()
        kept = _damaged(mount)
        (mount / "filler").unlink()
        ended = run(command, folder / "again.log")
        return _fault_of_sentence(first, folder / "first.log", mount), kept, _not_finished(ended), command


def _fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass


def _sweep(folder: Path, settings: list[str]) -> Outcome:
    with _tmpfs(folder / "mount", "420k") as mount:
        command = train("-m", *settings, "seed=1,2,3", f"hydra.sweep.dir={mount / 'sweep'}")
        said, kept, finished, _ = _try(mount, folder, command)
        done = [path for path in mount.glob("sweep/*/result.json") if read_json(path).get("status") == "ok"]
        return said, kept, finished or (None if len(done) == 3 else f"{len(done)} of 3 cells are ok"), command


def _export(folder: Path, checkpoint: Path, size_kb: int) -> Outcome:
    with _tmpfs(folder / "mount", f"{size_kb}k") as mount:
        return _try(mount, folder, products.export(checkpoint, mount / "exported"))


def _cache(folder: Path, settings: list[str]) -> Outcome:
    with _tmpfs(folder / "mount", "500k") as mount:
        others = [one for one in settings if not one.startswith("data.cache_dir")]
        command = train(*others, f"data.cache_dir={mount / 'cache'}", f"hydra.run.dir={folder / 'run'}")
        return _try(mount, folder, command)


def _synthetic(folder: Path) -> Outcome:
    with _tmpfs(folder / "mount", "500k") as mount:
        settings = ["data=synthetic", "data.n_records=120", f"data.root={mount / 'data'}", "trainer.max_epochs=1"]
        more = ["model=resnet1d_wang", "model.channels=4", "logger=none", f"data.cache_dir={folder / 'cache'}"]
        return _try(mount, folder, train(*settings, *more, f"hydra.run.dir={folder / 'run'}"))


def _fault_of_sentence(ended: Ended, log: Path, mount: Path) -> str | None:
    text = log.read_text(errors="replace")
    if ended.code == 0:
        return "it ended with exit code 0"
    if "Traceback" in text:
        return f"a traceback: {ended.said}"
    line = next((line for line in text.splitlines() if "error:" in line or "failed:" in line), "")
    sentence = line.split(". ")[0]
    if str(mount) not in sentence or not re.search(r"\d[\d,]* bytes", sentence):
        return f"the first sentence is {sentence!r:.300} (exit {ended.code})"
    return None


def _damaged(mount: Path) -> str | None:
    """Return the first file that cannot be read."""
    for path in mount.rglob("*"):
        try:
            if path.suffix == ".ckpt":
                torch.load(path, weights_only=True)
            elif path.name == "result.json" and not read_json(path):
                return f"{path.name} is damaged"
            elif path.suffix == ".csv" and not path.stat().st_size:
                return f"{path.name} is empty"
        except Exception as error:  # whatever it is, it is the finding
            return f"{path.name} is damaged ({type(error).__name__})"
    return None


def _not_finished(ended: Ended) -> str | None:
    return None if ended.code == 0 else f"exit {ended.code}: {ended.said}"
