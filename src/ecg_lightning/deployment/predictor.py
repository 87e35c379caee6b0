"""Predictions from an exported file: calibrated probabilities and decisions, without PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.checksum import check_checksum
from ecg_lightning.deployment.memory_limit import limited_memory
from ecg_lightning.deployment.metadata import read_metadata
from ecg_lightning.deployment.records import read_record
from ecg_lightning.deployment.runtimes import SUFFIXES, Floats, Runtime, files_of, open_runtime
from ecg_lightning.errors import DataError, MissingPackageError, ModelFileError, NotInt8Error, UserError
from ecg_lightning.evaluation.calibration import probabilities
from ecg_lightning.evaluation.uncertainty import Bounds
from ecg_lightning.processor import available_cores, processor_has_bf16, processor_has_int8

_BATCH = 32

Probabilities = npt.NDArray[np.float64]


class Predictor:
    """An .onnx or .xml file that this project exported, opened with what it says about itself.

    Attributes:
        metadata: see `metadata.Metadata`.
        runtime: see `runtimes.Runtime`.
        notes: what a reader of the predictions must know.

    Args:
        path: the file.
        runtime: `onnxruntime` or `openvino`; by default the one that the thresholds were chosen in, where it is
            installed.
        threads: of one call; all cores by default.

    Raises:
        ModelFileError: the file cannot be used.
        MissingPackageError: the runtime is not installed.
    """

    def __init__(self, path: str | Path, runtime: str | None = None, threads: int | None = None) -> None:
        path = Path(path)
        check_checksum(path)
        self.metadata = read_metadata(path)
        threads = threads or available_cores()
        self._files = files_of(path)
        self.runtime = self._open(path, runtime, threads)
        self.notes: tuple[str, ...] = ()
        if not self.metadata.conformal:
            self.notes = ("holds no bounds of conformal sets, so what is undecided is not marked; export it again",)
        scored = (self.metadata.runtime, self.metadata.precision)
        opened = (self.runtime.name, self.runtime.precision)
        if opened != scored:
            self.notes += (f"runs in {' '.join(opened)}; the thresholds were chosen in {' '.join(scored)}",)
        elif self.metadata.precision == "int8" and self.metadata.int8_products not in (None, processor_has_int8()):
            self.notes += (
                "its int8 was scored on a processor of another kind (VNNI, AMX or I8MM there or here alone): "
                "probabilities may differ a little from those that the thresholds were chosen on",
            )
        if self.runtime.n_samples != self.metadata.n_samples:
            raise ModelFileError(
                f"{path} takes {self.runtime.n_samples} samples a lead, its description says "
                f"{self.metadata.n_samples}: the file was changed; export it again"
            )

        probe = np.zeros((2, len(LEADS), self.metadata.n_samples), np.float32)
        probe[1, LEADS.index("V1")] = np.nan
        logits_2C = self._logits(probe)
        if logits_2C.shape != (2, len(self.metadata.classes)):
            raise ModelFileError(
                f"{path} gives {logits_2C.shape[1]} outputs, its description names {len(self.metadata.classes)} "
                "classes: the file was changed; export it again"
            )
        if not np.isnan(logits_2C[1]).all():
            self.notes += (
                "the file was exported before missing samples were guarded: other programs that give it NaN get a "
                "finite answer; export it again",
            )

    def _precision(self, runtime: str) -> str:
        """That of the scored figures; float32 in another runtime, or where this processor has no bfloat16."""
        about = self.metadata
        if runtime != about.runtime or (about.precision == "bf16" and not processor_has_bf16()):
            return "fp32"  # an int8 file may be float to another runtime
        return about.precision

    def _open(self, path: Path, asked: str | None, threads: int) -> Runtime:
        """In the runtime asked for; else in that of the scored figures, or any that is there and opens such files."""
        names = [asked] if asked else [name for name, suffixes in SUFFIXES.items() if path.suffix in suffixes]
        for name in sorted(names, key=lambda name: name != self.metadata.runtime):
            try:
                return open_runtime(path, name, self._precision(name), threads)
            except MissingPackageError as error:
                missing = error
            except NotInt8Error:  # on this processor, or by this version
                return open_runtime(path, name, "fp32", threads)
        raise missing

    def _logits(self, signals_BCT: Floats) -> Floats:
        with limited_memory(self._files, len(signals_BCT)):
            return self.runtime.logits(signals_BCT)

    def predict(self, millivolts_BCT: npt.ArrayLike) -> Probabilities:
        """(B, 12, T) mV, at the model's rate → (B, C) calibrated probabilities.

        Raises:
            DataError: another shape, or values that are not finite.
        """
        signals_BCT = np.ascontiguousarray(millivolts_BCT, dtype=np.float32)
        expected = (len(LEADS), self.metadata.n_samples)
        if signals_BCT.ndim != 3 or signals_BCT.shape[1:] != expected:
            raise DataError(f"the signals have the shape {signals_BCT.shape}, expected (records, 12, {expected[1]})")
        if not np.isfinite(signals_BCT).all():
            raise DataError("the signals hold values that are not finite; leave such records out")
        logits = [self._logits(signals_BCT[row : row + _BATCH]) for row in range(0, len(signals_BCT), _BATCH)]
        n_classes = len(self.metadata.classes)
        logits_BC = np.concatenate([*logits, np.empty((0, n_classes))]).astype(np.float64)
        return probabilities(logits_BC, self.metadata.temperature, self.metadata.link)

    def decisions(self, probabilities_BC: Probabilities) -> npt.NDArray[np.bool_]:
        """(B, C): which classes reach their threshold."""
        return probabilities_BC >= np.array(self.metadata.thresholds)

    def undecided(self, probabilities_BC: Probabilities) -> npt.NDArray[np.bool_] | None:
        """(B, C): which classes' conformal sets hold both presence and absence, or neither.

        None where the file has no bounds, as files of earlier versions, and so does not know.
        """
        if not self.metadata.conformal:
            return None
        return Bounds(*np.array(self.metadata.conformal).T).sets(probabilities_BC).undecided


@dataclass(frozen=True)
class Prediction:
    """What came of one record.

    Attributes:
        record: its path, as given.
        probabilities: by class; None where the record was refused.
        positive: the classes that reach their threshold.
        undecided: the classes whose conformal set holds both presence and absence, or neither; None where the file
            knows no such sets.
        notes: what was converted or assumed on reading, and what is unusual.
        error: why it was refused.
    """

    record: str
    probabilities: dict[str, float] | None = None
    positive: tuple[str, ...] = ()
    undecided: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    error: UserError | None = None


def predict_records(
    predictor: Predictor, paths: Sequence[Path], rate: float | None = None, units: str | None = None
) -> list[Prediction]:
    """Read and predict records in batches; one that cannot be used does not keep the others from it.

    Args:
        predictor: the model.
        paths: see `records.read_record`.
        rate: of tables and .npy files, Hz.
        units: of tables and .npy files.
    """
    found = []
    for first in range(0, len(paths), _BATCH):
        found += _predict_batch(predictor, paths[first : first + _BATCH], rate, units)
    return found


def _predict_batch(
    predictor: Predictor, paths: Sequence[Path], rate: float | None, units: str | None
) -> list[Prediction]:
    about = predictor.metadata
    refused: dict[int, UserError] = {}
    recordings = {}
    for index, path in enumerate(paths):
        try:
            recordings[index] = read_record(
                path, sampling_rate=about.sampling_rate, n_samples=about.n_samples, rate=rate, units=units
            )
        except DataError as error:
            refused[index] = error
        except Exception as error:  # a fault of the reader, which must not lose the other records' answers
            reason = " ".join(str(error).split())[:150]
            refused[index] = DataError(f"{path} cannot be read ({type(error).__name__}: {reason})")
    signals = [recording.millivolts_CT for recording in recordings.values()]
    probabilities = predictor.predict(np.stack(signals)) if signals else np.empty((0, len(about.classes)))
    decisions, undecided = predictor.decisions(probabilities), predictor.undecided(probabilities)
    rows = dict(zip(recordings, range(len(signals)), strict=True))
    predictions = []
    for index, path in enumerate(paths):
        if index in refused:
            predictions.append(Prediction(str(path), error=refused[index]))
            continue
        row = rows[index]
        predictions.append(
            Prediction(
                str(path),
                probabilities=dict(zip(about.classes, probabilities[row].tolist(), strict=True)),
                positive=tuple(itertools.compress(about.classes, decisions[row])),
                undecided=None if undecided is None else tuple(itertools.compress(about.classes, undecided[row])),
                notes=recordings[index].notes,
            )
        )
    return predictions
