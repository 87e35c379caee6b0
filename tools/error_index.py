"""Collect the sentences of all user errors from the source, for docs/reference/errors.md."""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ecg_lightning import errors
from ecg_lightning.errors import UserError

SOURCE = Path(errors.__file__).parent
_OF_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")
_SHORTEST = 25
"""Characters that a sentence must have of its own to be found by them."""


def error_index() -> str:
    """Return a section for each kind of error: when it is raised, its exit code, and its sentences."""
    sentences: dict[str, set[str]] = defaultdict(set)
    for path in sorted(SOURCE.rglob("*.py")):
        for kind, sentence in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            sentences[kind].add(sentence)
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, UserError)]
    sections = []
    for kind in kinds:
        escaped = [_OF_MARKDOWN.sub(r"\\\1", one) for one in sorted(sentences[kind.__name__])]
        listed = "\n".join(f"- {one}" for one in escaped)
        about = f"{inspect.getdoc(kind)} Exit code {kind.exit_code}."
        sections.append(f"## {kind.__name__}\n\n{about}" + (f"\n\n{listed}" if listed else ""))
    return "\n\n".join(sections)


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the kind and the sentence of each error that is written in one place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            name = node.exc.func.id if isinstance(node.exc.func, ast.Name) else ""
            kind = getattr(errors, name, None)
            sentence = " ".join(_text(node.exc.args[0]).split())
            own = re.sub(r"‹[^›]*›", "", sentence)
            if isinstance(kind, type) and issubclass(kind, UserError) and len(own) >= _SHORTEST:
                yield name, sentence


def _text(node: ast.expr) -> str:
    """Return a message's text, with ‹names› in place of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.FormattedValue):
        node = node.value
    names = [one.attr if isinstance(one, ast.Attribute) else one.id for one in ast.walk(node) if _is_name(one)]
    return f"‹{names[0].strip('_').replace('_', ' ')}›" if names else "‹…›"


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute)
