"""Tables as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from quarterturn.pages.tables import Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def latex(tables: Sequence[Table]) -> str:
    """Tables for a paper, with the figures of the page; they need the package ``booktabs``.

    Args:
        tables: Each becomes a ``table`` with its title as caption and its note below.
    """
    return "% needs \\usepackage{booktabs}\n" + "\n".join(map(_table, tables))


def _table(table: Table) -> str:
    places = "".join("r" if is_numeric else "l" for is_numeric in table.numeric())
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{{places}}}",
        r"\toprule",
        _row(table.columns),
        r"\midrule",
        *map(_row, table.cells()),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if table.note:
        lines += ["", rf"{{\footnotesize {_escaped(table.note)}}}"]
    return "\n".join([*lines, r"\end{table}", ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(char, char) for char in text)
