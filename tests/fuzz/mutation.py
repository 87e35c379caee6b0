"""Strategies that damage good files: bits, bytes, lines, cells and values of a tree."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

NASTY = (
    *("", " ", "nan", "NaN", "inf", "-inf", "-1", "0", "-0", "0.0", "1", "7", "13", "-500", "1e9", "1e308", "1e999"),
    *("9223372036854775808", "9999999999999999999", "-9223372036854775809", "9" * 400, "0x10", "1_000", "1,5", "+5"),
    *("٣", "１００", "\0", "\ufeff", "ü", "µV", "\x1b]0;title\x07", "\x85", "\u2028", "'", '"', "#", "=1+1"),
    *("True", "None", "null", "{}", "[]", "()", "%s", "../../etc/passwd", "/etc/passwd", "a\nb", "x" * 5000),
)
NASTY_VALUES = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**400, -(2**63), 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "x" * 5000, "\x1b[31m", "\0", "\ud7ff", "../up", "os.system", [], [[]], [1, 2], {}, {"a": 1}, [None]),
)
_PLACES = st.integers(0, 2**20)
_BYTE_EDITS = ("flip", "set", "insert", "delete", "repeat", "cut", "swap")
_LINE_EDITS = (
    *("cell", "cell", "cell", "cell", "number", "number", "number"),  # the likeliest
    *("drop cell", "add cell", "drop line", "repeat line", "swap lines", "blank line", "join lines"),
)
_FILE_EDITS = ("crlf", "cr", "bom", "latin-1", "utf-16", "semicolons", "tabs", "no end", "upper", "nul")


def damaged_bytes(good: bytes, most: int = 4) -> st.SearchStrategy[bytes]:
    """Draw `good` with one to `most` edits of bits, bytes and stretches."""
    edit = st.tuples(st.sampled_from(_BYTE_EDITS), _PLACES, _PLACES)
    return st.lists(edit, min_size=1, max_size=most).map(lambda edits: _edit_bytes(good, edits))


def damaged_text(good: str, separators: str = r"[,\s]", most: int = 3) -> st.SearchStrategy[bytes]:
    """Draw the text `good` with one to `most` edits of lines, cells and numbers, and sometimes of the whole file.

    Args:
        good: the text.
        separators: what stands between cells, as a regular expression.
        most: edits.
    """
    edit = st.tuples(st.sampled_from(_LINE_EDITS), _PLACES, _PLACES, st.sampled_from(NASTY))
    whole = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(_FILE_EDITS))
    return st.tuples(st.lists(edit, max_size=most), whole).map(lambda drawn: _edit_text(good, separators, *drawn))


def damaged_tree(good: Any, most: int = 3) -> st.SearchStrategy[Any]:
    """Draw a tree of plain values with one to `most` values replaced, removed, added or doubled."""
    edit = st.tuples(st.sampled_from(("set", "set", "drop", "add", "nest")), _PLACES, st.sampled_from(NASTY_VALUES))
    return st.lists(edit, min_size=1, max_size=most).map(lambda edits: _edit_tree(good, edits))


def _edit_bytes(good: bytes, edits: Sequence[tuple[str, int, int]]) -> bytes:
    content = bytearray(good)
    for kind, first, second in edits:
        if not content:
            break
        place, other = first % len(content), second % len(content)
        low, high = sorted((place, other))
        if kind == "flip":
            content[place] ^= 1 << second % 8
        elif kind == "set":
            content[place] = second % 256
        elif kind == "insert":
            content[place:place] = bytes([second % 256]) * (1 + second % 5)
        elif kind == "delete":
            del content[place : place + 1 + second % 40]
        elif kind == "repeat":
            content[place:place] = content[place : place + second % 40]
        elif kind == "cut":
            del content[place:]
        else:
            high = min(high, low + 48)
            content[low:high] = content[low:high][::-1]
    return bytes(content)


def _edit_text(good: str, separators: str, edits: Sequence[tuple[str, int, int, str]], whole: str | None) -> bytes:
    lines = good.splitlines()
    for kind, first, second, value in edits:
        if not lines:
            break
        row, other = first % len(lines), second % len(lines)
        if kind == "drop line":
            del lines[row]
        elif kind == "repeat line":
            lines.insert(other, lines[row])
        elif kind == "swap lines":
            lines[row], lines[other] = lines[other], lines[row]
        elif kind == "blank line":
            lines.insert(row, "")
        elif kind == "join lines":
            lines[row : row + 2] = ["".join(lines[row : row + 2])]
        elif kind == "number":
            lines[row] = _at(r"-?\d+(?:\.\d+)?", lines[row], second, lambda _, value=value: value)
        else:
            parts = re.split(f"({separators})", lines[row])
            cell = 2 * (second % ((len(parts) + 1) // 2))
            if kind == "cell":
                parts[cell] = value
            elif kind == "drop cell":
                del parts[cell : cell + 2]
            else:
                parts[cell:cell] = [value, parts[1] if len(parts) > 1 else ","]
            lines[row] = "".join(parts)
    text = "\n".join(lines) + "\n"
    return _edit_file(text, whole)


def _edit_file(text: str, whole: str | None) -> bytes:
    if whole in ("latin-1", "utf-16"):
        return text.encode(whole, errors="replace")
    changed = {
        "crlf": lambda: text.replace("\n", "\r\n"),
        "cr": lambda: text.replace("\n", "\r"),
        "bom": lambda: "\ufeff" + text,
        "semicolons": lambda: text.replace(",", ";"),
        "tabs": lambda: text.replace(",", "\t"),
        "no end": lambda: text[:-1],
        "upper": text.upper,
        "nul": lambda: text + "\0" * 20,
    }
    return (changed[whole]() if whole else text).encode()


def _at(pattern: str, text: str, number: int, change: Callable[[str], str]) -> str:
    """Change one match of a pattern."""
    matches = list(re.finditer(pattern, text))
    if not matches:
        return text
    match = matches[number % len(matches)]
    return text[: match.start()] + change(match.group()) + text[match.end() :]


def _edit_tree(good: Any, edits: Sequence[tuple[str, int, Any]]) -> Any:
    root = [copy.deepcopy(good)]
    for kind, number, value in edits:
        places = list(_places(root))
        container, key = places[number % len(places)]
        if kind == "set":
            container[key] = copy.deepcopy(value)
        elif kind == "nest":
            container[key] = [container[key]]
        elif kind == "add" and isinstance(container, dict):
            container[str(value)[:20]] = copy.deepcopy(value)
        elif kind == "add":
            container.insert(key, copy.deepcopy(value))
        elif container is not root:
            del container[key]
    return root[0] if root else None


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Each container with each of its keys; the root's first."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    found = [(node, key) for key in keys]
    return found + [place for key in keys for place in _places(node[key])]
