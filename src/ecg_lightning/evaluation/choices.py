"""All choices made on a model's validation fold: temperature, thresholds, Platt lines and conformal bounds.

They are fitted only in this module. Each one is fitted once, when it is first read, because a training epoch reads only
the thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ecg_lightning.evaluation.calibration import LINKS, fit_platt, fit_temperature, probabilities
from ecg_lightning.evaluation.conformal import Bounds, conformal_bounds
from ecg_lightning.evaluation.thresholds import f1_thresholds

if TYPE_CHECKING:
    from ecg_lightning.evaluation.predictions import Predictions  # it needs pandas, which a prediction does not

Floats = npt.NDArray[np.float64]

RAW, CALIBRATED = "raw", "calibrated"
_TEMPERATURES = (0.01, 100.0)
"""The bounds of a temperature that is read from a file; `calibration.fit_temperature` returns e⁻³ to e³."""
_LARGEST_LINE = 1e12
"""The bound of a Platt line's slope and offset that are read from a file."""
_MAX_RECORDS = 1_000_000_000
"""The bound of a validation fold's number of records that is read from a file."""


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
        n_records: the number of records in the validation fold; None without a fold, and in files of earlier versions.
        validation: the predictions of the fold; None if only the choices were read from a file.
        is_calibrated: False if only thresholds on raw probabilities are known. They are then the thresholds on
            calibrated probabilities as well, with a temperature of 1.
    """

    classes: tuple[str, ...]
    link: str
    n_records: int | None
    validation: Predictions | None = field(default=None, repr=False)
    is_calibrated: bool = True

    @classmethod
    def fit(cls, validation: Predictions) -> Choices:
        """Return the choices for the predictions of a model's validation fold. They are fitted when they are read."""
        return cls(validation.classes, validation.link, len(validation.ecg_ids), validation)

    @classmethod
    def of_thresholds(cls, classes: tuple[str, ...], link: str, raw_thresholds: Floats) -> Choices:
        """Return the choices of a checkpoint that holds only thresholds. They calibrate nothing."""
        found = cls(classes, link, None, is_calibrated=False)
        thresholds = {"raw_thresholds": raw_thresholds, "thresholds": raw_thresholds}
        return found._with(**thresholds, temperature=1.0, bounds=None, platt_lines=None)

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], classes: tuple[str, ...], validation: Predictions | None = None
    ) -> Choices:
        """Return the choices that `as_dict` wrote. The file may come from elsewhere.

        Files of earlier versions lack the number of records, the conformal bounds or the Platt lines.

        Args:
            values: the values from `as_dict`.
            classes: the classes that it must name; their order is kept.
            validation: the predictions of the fold, if they are known.

        Raises:
            ValueError: the values are not from `as_dict`, or were made on another fold.
        """
        link, n_records, temperature = (values.get(name) for name in ("link", "n_records", "temperature"))
        if link not in LINKS:
            raise ValueError(f"link is {link!r:.40}")
        thresholds = _table(values, "thresholds")
        raw_thresholds = _column(thresholds, RAW, classes, 0, 1)
        if not {"n_records", "temperature"} & values.keys():
            return cls.of_thresholds(classes, link, raw_thresholds)
        if n_records is not None and not (type(n_records) is int and 1 <= n_records <= _MAX_RECORDS):
            raise ValueError(f"n_records is {n_records!r:.40}")
        if validation is not None and (link, n_records) != (validation.link, len(validation.ecg_ids)):
            raise ValueError(
                f"they were made on {n_records} records with a {link}, but the validation fold holds "
                f"{len(validation.ecg_ids)} with a {validation.link}"
            )
        if link == "softmax" and "platt" in values:
            raise ValueError("platt is given, but the classes of a softmax are not independent")
        conformal = _pairs(values, "conformal", classes, 0, 1)
        return cls(classes, link, n_records, validation)._with(
            raw_thresholds=raw_thresholds,
            temperature=float(_numbers([temperature], 1, *_TEMPERATURES, "temperature")[0]),
            thresholds=_column(thresholds, CALIBRATED, classes, 0, 1),
            bounds=None if conformal is None else Bounds(*conformal.T),
            platt_lines=_pairs(values, "platt", classes, -_LARGEST_LINE, _LARGEST_LINE),
        )

    def _with(self, **parts: float | Floats | Bounds | None) -> Choices:
        """Return these choices with known parts in place of the fits."""
        vars(self).update(parts)
        return self

    def only(self, classes: tuple[str, ...]) -> Choices:
        """Return the choices for some of the classes. Each class has its own choices, and the temperature stays."""
        values = self.as_dict()
        tables = {name: {one: table[one] for one in classes} for name, table in values["thresholds"].items()}
        pairs = [name for name in ("conformal", "platt") if name in values]
        own: dict[str, Any] = {name: {one: values[name][one] for one in classes} for name in pairs}
        return Choices.from_dict({**values, "thresholds": tables, **own}, classes)

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
        """The (C, 2) slopes and offsets of the classes' logits; None in files of earlier versions.

        A softmax has None as well: its classes are not independent.
        """
        if self.link != "sigmoid":
            return None
        return np.stack(fit_platt(self._fold.logits_NC, self._fold.targets_NC), axis=1)

    @cached_property
    def bounds(self) -> Bounds | None:
        """The bounds of conformal sets on calibrated probabilities; None in files of earlier versions."""
        return conformal_bounds(self._fold.probabilities(self.temperature), self._fold.targets_NC)

    @property
    def _fold(self) -> Predictions:
        assert self.validation is not None, "a checkpoint that holds thresholds alone is not calibrated"
        return self.validation

    def probabilities(self, logits_NC: Floats) -> Floats:
        """Return the (N, C) calibrated probabilities of logits, or the raw ones without a validation fold."""
        return probabilities(logits_NC, self.temperature, self.link)

    def apply(self, split: Predictions) -> Decided:
        """Return a split's calibrated probabilities and their thresholds, or the raw ones without a validation fold.

        Args:
            split: the predictions of the same model. Scores of the validation fold itself are optimistic.
        """
        return Decided(self.probabilities(split.logits_NC), self.thresholds)

    def apply_raw(self, split: Predictions) -> Decided:
        """Return the raw probabilities of a split, and the thresholds on them."""
        return Decided(split.probabilities(), self.raw_thresholds)

    def calibrated(self, split: Predictions) -> dict[str, Floats]:
        """Return a split's (N, C) probabilities by kind of calibration: `none`, `temperature` and `platt`."""
        ways = {"none": split.probabilities()}
        if not self.is_calibrated:
            return ways
        ways["temperature"] = self.probabilities(split.logits_NC)
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
        bounds = {} if self.bounds is None else {"conformal": self._by_class(np.stack(self.bounds, axis=1))}
        lines = {} if self.platt_lines is None else {"platt": self._by_class(self.platt_lines)}
        return {
            "link": self.link,
            "n_records": self.n_records,
            "temperature": self.temperature,
            "thresholds": {
                RAW: self._by_class(self.raw_thresholds),
                CALIBRATED: self._by_class(self.thresholds),
            },
            **bounds,
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
    """Return the (C,) thresholds of a table by class."""
    return _numbers(_by_name(values, name, classes), len(classes), low, high, f"thresholds.{name}")


def _pairs(values: Mapping[str, Any], name: str, classes: tuple[str, ...], low: float, high: float) -> Floats | None:
    """Return the (C, 2) values of a table by class; None if there is no such table."""
    if name not in values:
        return None
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
