"""All choices made on a model's validation fold: temperature, thresholds, Platt lines and conformal bounds.

They are fitted only in this module. Each one is fitted once, when it is first read, because a training epoch reads only
the thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation.calibration import fit_platt, fit_temperature, probabilities
from ecg_lightning.evaluation.conformal import Bounds, conformal_bounds
from ecg_lightning.evaluation.predictions import Predictions
from ecg_lightning.evaluation.thresholds import f1_thresholds

Floats = npt.NDArray[np.float64]

RAW, CALIBRATED = "raw", "calibrated"
LINKS = ("sigmoid", "softmax")
TEMPERATURES = (0.01, 100.0)
"""The bounds of a temperature that is read from a file; `calibration.fit_temperature` returns e⁻³ to e³."""
_LARGEST = 1e12
"""The bound of a Platt line's slope and offset that are read from a file."""


class Decided(NamedTuple):
    """The probabilities of a split, and the thresholds on them.

    Attributes:
        probabilities_NC: (N, C) probabilities.
        thresholds_C: (C,) thresholds; a class is positive from its threshold on.
    """

    probabilities_NC: Floats
    thresholds_C: Floats

    @property
    def decisions(self) -> npt.NDArray[np.bool_]:
        """The (N, C) decisions: whether each class reaches its threshold."""
        return self.probabilities_NC >= self.thresholds_C


@dataclass(frozen=True, eq=False)
class Choices:
    """The choices that a model's validation fold made.

    Attributes:
        classes: the names of the C classes.
        link: the function from logits to probabilities; see `calibration.probabilities`.
        n_records: the number of records in the validation fold; None if only a checkpoint's thresholds are known.
        validation: the predictions of the fold; None if the choices were read from a file.
    """

    classes: tuple[str, ...]
    link: str
    n_records: int | None
    validation: Predictions | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, validation: Predictions) -> Choices:
        """Return the choices for the predictions of a model's validation fold. They are fitted when they are read."""
        return cls(validation.classes, validation.link, len(validation.ecg_ids), validation)

    @classmethod
    def of_thresholds(cls, classes: tuple[str, ...], link: str, raw_thresholds: Floats) -> Choices:
        """Return the choices of a checkpoint that holds only thresholds. They calibrate nothing."""
        found = cls(classes, link, None)
        found.__dict__["raw_thresholds"] = raw_thresholds
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], classes: tuple[str, ...]) -> Choices:
        """Return the choices that `as_dict` wrote. The file may come from elsewhere.

        Args:
            values: the values from `as_dict`.
            classes: the classes that it must name; their order is kept.

        Raises:
            ValueError: the values are not from `as_dict`.
        """
        link, n_records, temperature = (values.get(name) for name in ("link", "n_records", "temperature"))
        if link not in LINKS:
            raise ValueError(f"link is {link!r:.40}")
        thresholds = _table(values, "thresholds")
        if "n_records" not in values:
            return cls.of_thresholds(classes, link, _column(thresholds, RAW, classes, 0, 1))
        if type(n_records) is not int or n_records < 1:
            raise ValueError(f"n_records is {n_records!r:.40}")
        found = cls(classes, link, n_records)
        parts: dict[str, Any] = {  # they replace the fits
            "temperature": float(_numbers([temperature], 1, *TEMPERATURES, "temperature")[0]),
            "raw_thresholds": _column(thresholds, RAW, classes, 0, 1),
            "thresholds": _column(thresholds, CALIBRATED, classes, 0, 1),
            "bounds": Bounds(*_pairs(values, "conformal", classes, 0, 1).T),
            "platt_lines": _pairs(values, "platt", classes, -_LARGEST, _LARGEST) if link == "sigmoid" else None,
        }
        found.__dict__.update(parts)
        return found

    def only(self, classes: tuple[str, ...]) -> Choices:
        """Return the choices for some of the classes. Each class has its own choices, and the temperature stays."""
        values = self.as_dict()
        tables = {name: {one: table[one] for one in classes} for name, table in values["thresholds"].items()}
        pairs = [name for name in ("conformal", "platt") if name in values]
        own: dict[str, Any] = {name: {one: values[name][one] for one in classes} for name in pairs}
        return Choices.from_dict({**values, "thresholds": tables, **own}, classes)

    @property
    def is_calibrated(self) -> bool:
        """The state: True if a validation fold is known, False if only thresholds on raw probabilities are."""
        return self.n_records is not None

    @cached_property
    def temperature(self) -> float:
        """The temperature that divides the logits before the link."""
        val = self._fold
        return fit_temperature(val.logits_NC, val.targets_NC, val.link)

    @cached_property
    def raw_thresholds(self) -> Floats:
        """The (C,) thresholds on raw probabilities, which come from the unchanged logits."""
        return f1_thresholds(self._fold.probabilities(), self._fold.targets_NC)

    @cached_property
    def thresholds(self) -> Floats:
        """The (C,) thresholds on calibrated probabilities, which come from the logits divided by the temperature."""
        return f1_thresholds(self._fold.probabilities(self.temperature), self._fold.targets_NC)

    @cached_property
    def platt_lines(self) -> Floats | None:
        """The (C, 2) slopes and offsets of the classes' logits. A softmax has None: its classes are not independent."""
        if self.link != "sigmoid":
            return None
        return np.stack(fit_platt(self._fold.logits_NC, self._fold.targets_NC), axis=1)

    @cached_property
    def bounds(self) -> Bounds:
        """The bounds of conformal sets on calibrated probabilities."""
        return conformal_bounds(self._fold.probabilities(self.temperature), self._fold.targets_NC)

    @property
    def _fold(self) -> Predictions:
        assert self.validation is not None, "a checkpoint that holds thresholds alone is not calibrated"
        return self.validation

    def apply(self, split: Predictions) -> Decided:
        """Return a split's calibrated probabilities and their thresholds, or the raw ones without a validation fold.

        Args:
            split: the predictions of the same model. Scores of the validation fold itself are optimistic.
        """
        if not self.is_calibrated:
            return self.apply_raw(split)
        return Decided(split.probabilities(self.temperature), self.thresholds)

    def apply_raw(self, split: Predictions) -> Decided:
        """Return the raw probabilities of a split, and the thresholds on them."""
        return Decided(split.probabilities(), self.raw_thresholds)

    def calibrated(self, split: Predictions) -> dict[str, Floats]:
        """Return a split's (N, C) probabilities by kind of calibration: `none`, `temperature` and `platt`."""
        ways = {"none": split.probabilities()}
        if not self.is_calibrated:
            return ways
        ways["temperature"] = split.probabilities(self.temperature)
        if self.platt_lines is not None:
            slopes_C, offsets_C = self.platt_lines.T
            ways["platt"] = probabilities(split.logits_NC * slopes_C + offsets_C)
        return ways

    def is_fitted_on(self, split: Predictions) -> bool:
        """Return whether a split is the validation fold itself."""
        return self.validation is not None and np.array_equal(self.validation.ecg_ids, split.ecg_ids)

    def as_dict(self) -> dict[str, Any]:
        """Return the choices as plain values, for JSON and checkpoints. Thresholds without a fold are written alone."""
        if not self.is_calibrated:
            return {"link": self.link, "thresholds": {RAW: self._by_class(self.raw_thresholds)}}
        lines = {} if self.platt_lines is None else {"platt": self._by_class(self.platt_lines)}
        return {
            "link": self.link,
            "n_records": self.n_records,
            "temperature": self.temperature,
            "thresholds": {
                RAW: self._by_class(self.raw_thresholds),
                CALIBRATED: self._by_class(self.thresholds),
            },
            "conformal": self._by_class(np.stack(self.bounds, axis=1)),
            **lines,
        }

    def _by_class(self, values_C: Floats) -> dict[str, Any]:
        return dict(zip(self.classes, values_C.tolist(), strict=True))


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} is {found!r:.40}")
    return found


def _column(values: Mapping[str, Any], name: str, classes: tuple[str, ...], low: float, high: float) -> Floats:
    """Return the (C,) values of a table by class."""
    return _numbers(_by_name(values, name, classes), len(classes), low, high, name)


def _pairs(values: Mapping[str, Any], name: str, classes: tuple[str, ...], low: float, high: float) -> Floats:
    """Return the (C, 2) values of a table by class."""
    rows = _by_name(values, name, classes)
    if not all(isinstance(row, list | tuple) and len(row) == 2 for row in rows):
        raise ValueError(f"{name} does not hold two numbers for each class")
    numbers = _numbers([number for row in rows for number in row], 2 * len(classes), low, high, name)
    return numbers.reshape(-1, 2)


def _by_name(values: Mapping[str, Any], name: str, classes: tuple[str, ...]) -> list[Any]:
    table = _table(values, name)
    if set(table) != set(classes):
        raise ValueError(f"{name} is of the classes {', '.join(map(str, table)):.100}")
    return [table[one] for one in classes]


def _numbers(values: list[Any], n: int, low: float, high: float, name: str) -> Floats:
    if len(values) != n or not all(type(value) in (int, float) and low <= value <= high for value in values):
        raise ValueError(f"{name} is {values!r:.60}, not {n} numbers from {low:g} to {high:g}")
    return np.array(values, dtype=np.float64)
