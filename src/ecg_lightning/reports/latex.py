"""Sections as LaTeX tables, for a document that loads booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from ecg_lightning.reports.section import Cell, Column, Section, write_cell

_HEAD = "% \\usepackage{booktabs} goes into the preamble; then \\input this file."
_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\n": " ",
        "±": r"$\pm$",
        "×": r"$\times$",
        "Δ": r"$\Delta$",
        "≠": r"$\neq$",
        "−": "$-$",
        "–": "--",
        "·": r"$\cdot$",
        "›": r"$\rightarrow$",
        "→": r"$\rightarrow$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "µ": r"$\mu$",
        "√": r"$\surd$",
    }
)


def to_latex(sections: Sequence[Section]) -> str:
    """Return a `table` environment for each section that has a table, with its notes and legend below."""
    return "\n\n".join([_HEAD, *(_environment(section) for section in sections if section.table is not None)]) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX prints unchanged."""
    return text.translate(_ESCAPES)


def _environment(section: Section) -> str:
    table = section.table
    assert table is not None
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        rf"  \caption{{{escape(section.title)}}}",
        rf"  \label{{tab:{section.name}}}",
        rf"  \begin{{tabular}}{{{''.join('r' if column.form else 'l' for column in table.columns)}}}",
        r"    \toprule",
        _line([escape(column.heading) for column in table.columns]),
        r"    \midrule",
    ]
    for number, row in enumerate(table.rows):
        lines += [r"    \midrule"] if number in table.rules and number else []
        lines.append(_line([_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)]))
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if text := " ".join([*section.notes, section.legend]).strip():
        lines.append(rf"  \par\smallskip\footnotesize {escape(text)}")
    return "\n".join([*lines, r"\end{table}"])


def _line(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _cell(cell: Cell, column: Column) -> str:
    value, behind = (escape(text) for text in write_cell(cell, column.form))
    if column.form:
        value, behind = (text.replace("-", "$-$") if text != "--" else text for text in (value, behind))
    return rf"{value} {{\scriptsize {behind}}}" if behind else value
