import re

from quarterturn.pages.latex import latex
from quarterturn.pages.tables import Table

TABLE = Table(
    "Probes & tests_1",
    ["runs", "n", "top-1"],
    [["50 % of {a}\\b", 3, 0.934], ["x ± 1 ^ ~ #$", 12, None]],
    note="a < b",
)


def test_has_the_cells_of_the_table():
    text = latex([TABLE])
    rows = re.findall(r"^(.*) \\\\$", text, re.MULTILINE)
    assert rows[0] == "runs & n & top-1"
    assert rows[1] == r"50 \% of \{a\}\textbackslash{}b & 3 & 93.4 \%"
    assert rows[2] == r"x $\pm$ 1 \textasciicircum{} \textasciitilde{} \#\$ & 12 & -"
    assert r"\caption{Probes \& tests\_1}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"{\footnotesize a \textless{} b}" in text


def test_every_environment_that_begins_ends():
    text = latex([TABLE, TABLE])
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2
