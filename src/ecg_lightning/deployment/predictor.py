"""Predictions from a model's file: calibrated probabilities and decisions. Exported files do not need PyTorch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.recordings.records import Recording, read_array, read_record
from ecg_lightning.data.recordings.search import find_recordings
from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.checksum import check_checksum
from ecg_lightning.deployment.example import EXAMPLE_MODEL
from ecg_lightning.deployment.metadata import read_metadata
from ecg_lightning.deployment.runtimes.opening import open_runtime
from ecg_lightning.deployment.runtimes.runtime import SUFFIXES, Floats, Runtime, files_of
from ecg_lightning.errors import DataError, MissingPackageError, ModelFileError, NotInt8Error, UserError
from ecg_lightning.evaluation.choices import Decided
from ecg_lightning.hardware.processor import available_cores, processor_has_bf16, processor_has_int8
from ecg_lightning.system.installed import needing
from ecg_lightning.system.memory_limit import limited_memory

_BATCH = 32

Probabilities = npt.NDArray[np.float64]


class Predictor:
    """A model that is ready to predict recordings.

    Examples:
        >>> import numpy as np
        >>> from ecg_lightning import Predictor
        >>> signals = np.load("recording.npy")  # (12, samples) in µV at 500 Hz, leads I, II, III, aVR, … V6
        >>> prediction = Predictor().predict(signals, fs=500, units="uV")  # or Predictor("FILE.onnx")
        >>> print(prediction.probabilities, prediction.positive, prediction.notes)

    Attributes:
        path: the model's file.
        metadata: see `metadata.Metadata`.
        runtime: see `runtimes.Runtime`.
        notes: sentences that a reader of the predictions must know.

    Args:
        path: an .onnx or .xml file that this project exported, a checkpoint (.ckpt), or the folder of a run. A folder
            means its `checkpoints/best.ckpt`. Checkpoints need PyTorch. The default is this package's example model.
        runtime: `onnxruntime` or `openvino`; by default the runtime in which the thresholds were chosen, if it is
            installed.
        threads: number of threads of one call; all cores by default.

    Raises:
        ModelFileError: the file cannot be used.
        CheckpointError: the checkpoint cannot be used.
        DataError: the folder holds no checkpoint.
        MissingPackageError: the runtime is not installed.
    """

    def __init__(
        self, path: str | Path = EXAMPLE_MODEL, runtime: str | None = None, threads: int | None = None
    ) -> None:
        path = _file_of(Path(path).expanduser())
        check_checksum(path)
        threads = threads or available_cores()
        self.path = path
        self.notes: tuple[str, ...] = ()
        if path.suffix == ".ckpt" and runtime is None:
            with needing("train", "a checkpoint"):
                from ecg_lightning.deployment.checkpoint_file import open_checkpoint

            self.metadata, self.runtime, self.notes = open_checkpoint(path, threads)
        else:
            self.metadata = read_metadata(path)
            self.runtime = self._open(path, runtime, threads)
        if self.metadata.choices.bounds is None and not self.notes:
            self.notes = (
                "the file holds no bounds for conformal sets, so undecided classes are not marked; export it again",
            )
        scored = (self.metadata.runtime, self.metadata.precision)
        opened = (self.runtime.name, self.runtime.precision)
        if opened != scored:
            self.notes += (
                f"the file runs in {' '.join(opened)}, but its thresholds were chosen in {' '.join(scored)}",
            )
        elif self.metadata.precision == "int8" and self.metadata.int8_products not in (None, processor_has_int8()):
            self.notes += (
                "the int8 file was scored on a processor with other int8 instructions (VNNI, AMX or I8MM), so "
                "probabilities may differ slightly from those used for the thresholds",
            )
        if self.runtime.n_samples != self.metadata.n_samples:
            raise ModelFileError(
                f"{path} expects {self.runtime.n_samples} samples per lead, but its description states "
                f"{self.metadata.n_samples}: the file was changed; export it again"
            )

        probe = np.zeros((2, len(LEADS), self.metadata.n_samples), np.float32)
        probe[1, LEADS.index("V1")] = np.nan
        logits_2C = self._logits(probe)
        if logits_2C.shape != (2, len(self.metadata.classes)):
            raise ModelFileError(
                f"{path} returns {logits_2C.shape[1]} outputs, but its description names "
                f"{len(self.metadata.classes)} classes: the file was changed; export it again"
            )
        if not np.isnan(logits_2C[1]).all():
            self.notes += (
                "an earlier version exported this file: in other programs it returns finite logits for missing "
                "samples (NaN); export it again",
            )

    def _precision(self, runtime: str) -> str:
        """Return the precision of the scored figures; float32 in another runtime or without bfloat16 arithmetic."""
        about = self.metadata
        if runtime != about.runtime or (about.precision == "bf16" and not processor_has_bf16()):
            return "fp32"  # another runtime may compute an int8 file in float
        return about.precision

    def _open(self, path: Path, asked: str | None, threads: int) -> Runtime:
        """Return the file opened in the asked runtime, else the one of the scored figures, else any installed one."""
        names = [asked] if asked else [name for name, suffixes in SUFFIXES.items() if path.suffix in suffixes]
        for name in sorted(names, key=lambda name: name != self.metadata.runtime):
            try:
                return open_runtime(path, name, self._precision(name), threads)
            except MissingPackageError as error:
                missing = error
            except NotInt8Error:  # on this processor, or in this version
                return open_runtime(path, name, "fp32", threads)
        raise missing

    def __repr__(self) -> str:
        about = self.metadata
        seconds = about.n_samples / about.sampling_rate
        return (
            f"Predictor({self.path.name}: {about.model} in {self.runtime.precision}, run by {self.runtime.name}; "
            f"{seconds:g} s at {about.sampling_rate} Hz → {', '.join(about.classes[:10])})"
        )

    def _logits(self, signals_BCT: Floats) -> Floats:
        exported = self.runtime.name != "torch"
        with limited_memory(files_of(self.path), len(signals_BCT)) if exported else contextlib.nullcontext():
            return self.runtime.logits(signals_BCT)

    def predict(
        self,
        signals: npt.ArrayLike,
        *,
        fs: float,
        leads: Sequence[str] | None = None,
        units: str | None = None,
    ) -> Prediction:
        """Return the prediction of one recording, which is checked and converted like a file.

        Args:
            signals: (leads, T) or (T, leads), at least as long as the model's input; the first seconds are used.
            fs: sampling rate of the signals, Hz; 50 to 20,000.
            leads: names of the leads, in the order of the signals. Without them twelve leads in the order I, II, III,
                aVR, aVL, aVF, V1 … V6 are expected. I, II and V1 to V6 are enough, because the others follow from I and
                II.
            units: units of the signals, such as `mV` or `uV`. By default mV, and the prediction gets a note.

        Raises:
            DataError: the signals cannot be used, or are not an ECG.
        """
        about = self.metadata
        recording = read_array(
            signals, sampling_rate=about.sampling_rate, n_samples=about.n_samples, fs=fs, leads=leads, units=units
        )
        return self._predict(["array"], [recording])[0]

    def predict_files(
        self, paths: Iterable[str | Path], *, fs: float | None = None, units: str | None = None
    ) -> list[Prediction]:
        """Return the predictions of recordings in files. A recording that cannot be used has its `error` set.

        Args:
            paths: files, see `records.read_record`; folders, and patterns such as `DIR/*.hea`.
            fs: sampling rate of .npy files and of tables without a time column, Hz.
            units: units of tables and .npy files, `mV` or `uV`.

        Raises:
            DataError: a folder or a pattern holds no recording.
        """
        return predict_records(self, find_recordings([str(path) for path in paths], fs), fs, units)

    def _predict(self, names: Sequence[str], recordings: Sequence[Recording]) -> list[Prediction]:
        """Return the predictions of recordings, in one batch."""
        found_BC = self.probabilities(np.stack([recording.millivolts_CT for recording in recordings]))
        positive_BC, undecided_BC = self.decisions(found_BC), self.undecided(found_BC)
        classes = self.metadata.classes
        return [
            Prediction(
                name,
                probabilities=dict(zip(classes, found_BC[row].tolist(), strict=True)),
                positive=tuple(itertools.compress(classes, positive_BC[row])),
                undecided=None if undecided_BC is None else tuple(itertools.compress(classes, undecided_BC[row])),
                notes=recording.notes,
            )
            for row, (name, recording) in enumerate(zip(names, recordings, strict=True))
        ]

    def probabilities(self, millivolts_BCT: npt.ArrayLike) -> Probabilities:
        """Return (B, C) calibrated probabilities of (B, 12, T) mV at the model's rate, leads in the standard order.

        Nothing is converted, and signals that are not an ECG are not detected; see `predict`.

        Raises:
            DataError: the shape is another one, or some values are not finite.
        """
        signals_BCT = np.ascontiguousarray(millivolts_BCT, dtype=np.float32)
        expected = (len(LEADS), self.metadata.n_samples)
        if signals_BCT.ndim != 3 or signals_BCT.shape[1:] != expected:
            raise DataError(f"the signals have the shape {signals_BCT.shape}, expected (records, 12, {expected[1]})")
        if not np.isfinite(signals_BCT).all():
            raise DataError("the signals hold values that are not finite. Leave such records out")
        logits = [self._logits(signals_BCT[row : row + _BATCH]) for row in range(0, len(signals_BCT), _BATCH)]
        n_classes = len(self.metadata.classes)
        logits_BC = np.concatenate([*logits, np.empty((0, n_classes))]).astype(np.float64)
        return self.metadata.choices.probabilities(logits_BC)

    def decisions(self, probabilities_BC: Probabilities) -> npt.NDArray[np.bool_]:
        """Return (B, C) decisions, true for each class that reaches its threshold."""
        return Decided(probabilities_BC, self.metadata.choices.thresholds).decisions

    def undecided(self, probabilities_BC: Probabilities) -> npt.NDArray[np.bool_] | None:
        """Return (B, C), true for each class whose conformal set holds both presence and absence, or neither.

        None if the file has no bounds, as in files of earlier versions.
        """
        bounds = self.metadata.choices.bounds
        return None if bounds is None else bounds.sets(probabilities_BC).undecided


def load(path: str | Path) -> Predictor:
    """Return a predictor of a run's folder, a checkpoint or an exported file.

    Examples:
        >>> from ecg_lightning import load
        >>> model = load("RUN")  # the folder of a training; or RUN/checkpoints/best.ckpt, or a model.onnx
        >>> for prediction in model.predict_files(["recording.csv"], fs=500):
        ...     print(prediction.record, prediction.probabilities)

    Args:
        path: see `Predictor`, which opens it in the same way.

    Raises:
        UserError: see `Predictor`.
    """
    return Predictor(path)


def _file_of(path: Path) -> Path:
    """Return a model's file. For a run's folder it is the scored checkpoint."""
    if not path.is_dir():
        return path
    checkpoint = path / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise DataError(
            f"{path} is a folder without checkpoints/best.ckpt. Name the folder of a finished run, or a model file"
        )
    return checkpoint


@dataclass(frozen=True)
class Prediction:
    """The prediction of one recording, or the reason why there is none.

    Attributes:
        record: path of the recording, as given; `array` for a recording from a program.
        probabilities: probabilities by class; None if the record was refused.
        positive: classes that reach their threshold.
        undecided: classes whose conformal set holds both presence and absence, or neither; None if the file has no such
            sets.
        notes: conversions and assumptions on reading, and unusual findings.
        error: reason why the record was refused.
    """

    record: str
    probabilities: dict[str, float] | None = None
    positive: tuple[str, ...] = ()
    undecided: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    error: UserError | None = None


def predict_records(
    predictor: Predictor,
    paths: Sequence[Path],
    rate: float | None = None,
    units: str | None = None,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[Prediction]:
    """Return the predictions of records, read in batches. A record that cannot be used does not stop the others.

    Args:
        predictor: the model.
        paths: see `records.read_record`.
        rate: sampling rate of .npy files and of tables without a time column, Hz.
        units: units of tables and .npy files.
        track: function that yields the numbers of the batches, and may show the progress.
    """
    return [
        prediction
        for first in track(range(0, len(paths), _BATCH))
        for prediction in _predict_batch(predictor, paths[first : first + _BATCH], rate, units)
    ]


def _predict_batch(
    predictor: Predictor, paths: Sequence[Path], rate: float | None, units: str | None
) -> list[Prediction]:
    about = predictor.metadata
    refused: dict[Path, UserError] = {}
    recordings = {}
    for path in dict.fromkeys(paths):
        try:
            recordings[path] = read_record(
                path, sampling_rate=about.sampling_rate, n_samples=about.n_samples, rate=rate, units=units
            )
        except DataError as error:
            refused[path] = error
        except Exception as error:  # a fault of the reader, which must not lose the other predictions
            reason = " ".join(str(error).split())[:150]
            refused[path] = DataError(f"{path} cannot be read ({type(error).__name__}: {reason})")
    predictions = {path: Prediction(str(path), error=error) for path, error in refused.items()}
    if recordings:
        found = predictor._predict([str(path) for path in recordings], [*recordings.values()])
        predictions |= dict(zip(recordings, found, strict=True))
    return [predictions[path] for path in paths]
