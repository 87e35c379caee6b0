"""A short training and its exported files, which other areas damage or run beside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reliability.data import training
from reliability.programs import compress, run, train


@dataclass(frozen=True)
class Products:
    """What a user has after a training and `compress.py`.

    Attributes:
        settings: the training's, for the command line.
        run: folder of the training.
        exported: folder of its exported files.
        record: a WFDB record of the data, without suffix.
    """

    settings: list[str]
    run: Path
    exported: Path
    record: Path

    @property
    def checkpoint(self) -> Path:
        return self.run / "checkpoints" / "best.ckpt"

    @property
    def evaluation(self) -> list[str]:
        """The settings without those of the model, which `train=false` refuses."""
        return ["train=false", *(one for one in self.settings if not one.startswith(("model", "trainer")))]

    @property
    def onnx(self) -> Path:
        return self.exported / "variants" / "baseline" / "model.onnx"


def make(folder: Path, *, exported: bool = True) -> Products:
    """Train for an epoch and export the model."""
    settings = [*training(folder), "trainer.max_epochs=1"]
    record = next((folder / "data" / "records100").glob("*/*.hea")).with_suffix("")
    made = Products(settings, folder / "trained", folder / "exported", record)
    commands = [train(*settings, f"hydra.run.dir={made.run}")]
    if exported:
        commands.append(export(made.checkpoint, made.exported))
    for number, command in enumerate(commands):
        ended = run(command, folder / f"made{number}.log")
        if ended.code != 0:
            raise RuntimeError(f"what the area needs could not be made: {ended.said}")
    return made


def export(checkpoint: Path, folder: Path) -> list[str]:
    """Return the command that exports a checkpoint as it is."""
    return compress(
        f"ckpt_path={checkpoint}", "compression=none", "compression.latency.rounds=1", "hardware.threads=1",
        "hardware.precision=32-true", f"hydra.run.dir={folder}",
    )  # fmt: skip
