"""The units and the sampling rate that lines above a table state, such as `# units: uV` or `Sample Rate,100`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ecg_lightning.data.recordings.voltage import millivolts
from ecg_lightning.data.wfdb import RecordError

_LONGEST = 200  # characters of a line that are searched
_SEPARATOR = r"[\s:=,;|]+"
_UNITS = re.compile(
    rf"(?<!time )\b(?:units?|einheit(?:en)?)(?:\s+(?:is|are|of\s+\w+))?{_SEPARATOR}[\"'(\[]*([^\s,;|\"')\]]+)",
    re.IGNORECASE,
)
_IN_UNITS = re.compile(r"\bin\s+[(\[]?([^\s,;.)\]]{2,})", re.IGNORECASE)
_SCALE = re.compile(r"\b(?:gain|resolution|verst[äa]rkung|aufl[öo]sung|scal(?:e|ing)|lsb|adu)\b[^\d]*\d", re.IGNORECASE)
_VALUE = r"\W*?(?:[(\[]\s*(k?)hz\s*[)\]])?[\s:=,;|\"']+(\d{1,9}(?:[.,]\d{1,9})?)[\"']?[\s,;]*"
_RATES = (
    re.compile(
        r"\b(?:sampl(?:e|ing)[ _-]?(?:rate|freq(?:uency)?)|abtast(?:rate|frequenz)|[ée]chantillonnage|de muestreo"
        rf"|fs|sr|sfreq)(?:_hz)?{_VALUE}(k?)",
        re.IGNORECASE,
    ),
    re.compile(
        r"()\b(\d{1,9}(?:[.,]\d{1,9})?)\s*(k?)(?:sps\b|samples?\s*(?:/|per)\s*s(?:ec(?:ond)?)?\b)", re.IGNORECASE
    ),
    re.compile(rf"^\W*(?:rate|freq(?:uency)?){_VALUE}(k?)hz\b", re.IGNORECASE),  # excludes the heart rate
)


@dataclass(frozen=True)
class Preamble:
    """Statements above a table that hold for all of it; None for those that are absent.

    Attributes:
        units: the units of voltage, as written.
        rate: the sampling rate in Hz.
        scale: the line that gives a gain or resolution.
    """

    units: str | None
    rate: float | None
    scale: str | None


def read_statements(lines: Iterable[str]) -> Preamble:
    """Return the units, the sampling rate and the scale that lines state.

    Raises:
        RecordError: the lines state units that are not of voltage.
    """
    units: str | None = None
    rate: float | None = None
    scale: str | None = None
    for line in (line[:_LONGEST] for line in lines):
        if found := _UNITS.search(line):
            if millivolts(found[1]) is None:
                raise RecordError(
                    f"the line {line.strip()[:60]!r} states units that are not of voltage; convert the values to mV, "
                    "or remove the line"
                )
            units = found[1]
        elif (found := _IN_UNITS.search(line)) and millivolts(found[1]) is not None:
            units = found[1]
        if _SCALE.search(line):
            scale = line.strip()
        for pattern in _RATES:
            if found := pattern.search(line):
                rate = float(found[2].replace(",", ".")) * (1000 if found[1] or found[3] else 1)
    return Preamble(units, rate, scale)
