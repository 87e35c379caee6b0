"""The names of the twelve leads in headers and tables, and the leads that are computed from leads I and II."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ecg_lightning.data.recordings.voltage import millivolts
from ecg_lightning.data.recordings.window import Floats
from ecg_lightning.data.wfdb import LEADS, RecordError

# Six limb leads come from three electrodes, so two leads determine the others (Einthoven, Goldberger).
_FROM_I_AND_II = {
    "III": lambda one, two: two - one,
    "AVR": lambda one, two: -(one + two) / 2,
    "AVL": lambda one, two: one - two / 2,
    "AVF": lambda one, two: two - one / 2,
}
_SPELLED = {"AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}
_PLURAL = {"is": "are", "has": "have"}
STANDARD_ORDER = ", ".join(_SPELLED.get(lead, lead) for lead in LEADS)
LEAD_SETS = (
    f"the leads {STANDARD_ORDER} are needed, or I, II and V1 to V6 with or without III, from which the others are "
    "computed"
)

_LONGEST_NAME = 100  # characters; the patterns are slow on longer names
_QUOTES = "'\"`´‘’“”"
_BRACKETED = re.compile(r"(.*\S)\s*[(\[{]\s*(\S(?:.*\S)?)\s*[)\]}]")
_VOLTS = r"(?:m|milli|u|μ|micro|n)v(?:olts?)?"
_SUFFIXED = re.compile(rf"(.*?[^\s_/.,-])(?:([\s_.,-]+(?:in\s+)?|)({_VOLTS})|\s*/\s*(\S+))", re.IGNORECASE)
# A single hyphen separates; one after another separator is a sign, as in `Lead -aVR`.
_BETWEEN = r"(?:[ _.:]+|-)"
_PREFIX = re.compile(
    rf"(?:MDC{_BETWEEN})?(?:(?:ECG|EKG){_BETWEEN}?)?(?:(?:(?:LEAD|ABLEITUNG|CHANNEL|D[EÉ]RIVATION){_BETWEEN}?)"
    rf"|(?:CH{_BETWEEN}))?(?:[ _]+)?"
)
_SUFFIX = re.compile(r"[ _.-]+LEAD$")
_DIGITS = {"1": "I", "2": "II", "3": "III"}
_INVERTED = re.compile(r"(?:[-−–]|MINUS|NEG(?:ATIVE)?|INV(?:ERTED)?)[ _]*AVR")


def spell(leads: Iterable[str]) -> str:
    """Return the leads in their usual spelling, such as `I, aVR`."""
    return ", ".join(_SPELLED.get(lead, lead) for lead in leads)


def say(leads: Sequence[str], verb: str = "") -> str:
    """Return `lead aVR is` or `leads I, II are` for the verbs `is` and `has`, or the same without a verb."""
    if len(leads) == 1:
        return f"lead {spell(leads)} {verb}".rstrip()
    return f"leads {spell(leads)} {_PLURAL.get(verb, verb)}".rstrip()


def split_units(name: str) -> tuple[str, str | None]:
    """Return a column's name and its units, from `I (mV)`, `I_mV`, `I/mV`, `I in mV` or `ImV`."""
    if len(name) > _LONGEST_NAME:
        return name, None
    name = unicodedata.normalize("NFKC", name).strip().strip(_QUOTES).strip()
    match = _BRACKETED.fullmatch(name)
    if match and (millivolts(match[2]) is not None or standard_name(match[1])):
        return match[1], match[2]
    match = _SUFFIXED.fullmatch(name)
    units = match and (match[3] or match[4])
    if match and units and millivolts(units) is not None and (match[2] != "" or standard_name(match[1])):
        return match[1], units
    return name, None


def standard_name(name: str) -> str | None:
    """Return the lead of `LEADS` that a name without units means, or None if it means none of them.

    The function knows `aVR`, `Lead I`, `ECG I`, `MDC_ECG_LEAD_I`, `I lead`, `DI`, `D1` and `LI` for I, and `C1` and
    `V-1` for V1, in upper or lower case.
    """
    if len(name) > _LONGEST_NAME:
        return None
    text = unicodedata.normalize("NFKC", name).strip().strip(_QUOTES).strip().upper()
    prefix = _PREFIX.match(text)
    bare = _SUFFIX.sub("", text[prefix.end() :] if prefix else text)
    if match := re.fullmatch(r"A[ _-]?V[ _-]?([RLF])", bare):
        return f"AV{match[1]}"
    if bare in LEADS:
        return bare
    if bare in _DIGITS and bare != text:  # `Lead 1`
        return _DIGITS[bare]
    if bare in ("LI", "LII", "LIII"):
        return bare[1:]
    if bare.startswith("D") and (_DIGITS.get(bare[1:], bare[1:]) in _DIGITS.values()):
        return _DIGITS.get(bare[1:], bare[1:])
    if match := re.fullmatch(r"[CV][ _-]?([1-6])", bare):
        return f"V{match[1]}"
    return None


def find_leads(names: Sequence[str], notes: list[str]) -> dict[str, int]:
    """Return lead → index among `names`, for each of the twelve leads that is present.

    The missing leads are computed from I and II; see `complete`.

    Raises:
        RecordError: a missing lead cannot be computed, or a lead occurs more than once or is inverted.
    """
    found = [standard_name(name) for name in names]
    if not any(name.strip() for name in names):
        raise RecordError(
            f"none of its {len(names)} signals has a name. Name the leads, at the end of each signal line of a WFDB "
            f"header or in the first row of a table: {LEAD_SETS}"
        )
    if double := [lead for lead in LEADS if found.count(lead) > 1]:
        raise RecordError(f"{say(double, 'is')} named more than once; remove the others")
    if inverted := [
        name for name, lead in zip(names, found, strict=True) if not lead and _INVERTED.search(name.upper())
    ]:
        raise RecordError(
            f"lead {inverted[0].strip()[:20]} is inverted, as in the Cabrera order; change its sign and rename it aVR"
        )
    missing = [lead for lead in LEADS if lead not in found]
    # If only one of these leads is missing, its name is probably damaged.
    computable = {*missing, "III"} == _FROM_I_AND_II.keys()
    if missing and not computable:
        has = ", ".join(name.strip() or "(no name)" for name in names)[:120]
        raise RecordError(f"{say(missing, 'is')} missing; it has {has}. {LEAD_SETS[0].upper()}{LEAD_SETS[1:]}")
    places = {lead: found.index(lead) for lead in LEADS if lead in found}
    if others := [
        names[place].strip() or f"number {place + 1} (no name)" for place, lead in enumerate(found) if not lead
    ]:
        notes.append(f"left out: {', '.join(others)[:120]}")
    if list(places.values()) != sorted(places.values()):
        notes.append("the leads were sorted by name into the standard order")
    if missing:
        notes.append(f"computed from I and II: {spell(missing)}")
    return places


def complete(found: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the signals of the twelve leads in the standard order. Missing leads are computed from I and II."""
    return {lead: found[lead] if lead in found else _FROM_I_AND_II[lead](found["I"], found["II"]) for lead in LEADS}
