import io
import json
import logging

import pytest
from rich.console import Console

from quarterturn.pages.tables import Table, format_cell, show

TABLE = Table(
    "Accuracy [top-1]",
    ["features", "kNN", "seconds", "n"],
    [["pixels", 0.38249, None, 450], ["decoupled [both]", 0.9, 41.23456, 450]],
    note="one seed",
    plain=("seconds",),
)


@pytest.mark.parametrize(
    ("value", "plain", "shown"),
    [
        (0.93449, False, "93.4 %"),
        (1.0, False, "100.0 %"),
        (0.0213, True, "0.0213"),
        (123456.7, True, "123,457"),
        (1347, False, "1,347"),
        ("word", False, "word"),
        (None, False, "-"),
        (float("nan"), False, "-"),
    ],
)
def test_cells_show_percent_counts_and_a_dash_for_nothing(value, plain, shown):
    assert format_cell(value, plain=plain) == shown


def test_the_terminal_shows_every_cell_and_takes_brackets_for_text():
    out = io.StringIO()
    Console(file=out, width=100).print(TABLE)
    for row in TABLE.cells():
        for cell in row:
            assert cell in out.getvalue()
    assert "Accuracy [top-1]" in out.getvalue()
    assert "one seed" in out.getvalue()


def test_showing_hands_the_table_itself_to_the_results_logger(caplog):
    caplog.set_level(logging.INFO, logger="quarterturn.results")
    show(TABLE)
    (record,) = caplog.records
    assert (record.name, record.msg) == ("quarterturn.results", TABLE)


def test_plain_text_has_flush_columns():
    assert str(TABLE).splitlines() == [
        "Accuracy [top-1]",
        "features             kNN  seconds    n",
        "pixels            38.2 %        -  450",
        "decoupled [both]  90.0 %    41.23  450",
        "one seed",
    ]


def test_json_keeps_the_unrounded_figures():
    stored = json.loads(json.dumps(TABLE.to_dict(), allow_nan=False))
    assert stored["rows"] == TABLE.rows
    again = Table(**{**stored, "plain": tuple(stored["plain"])})
    assert again.cells() == TABLE.cells()


def test_json_has_none_where_a_figure_is_not_finite():
    table = Table("t", ["a"], [[float("nan")]])
    assert json.dumps(table.to_dict(), allow_nan=False).count("null") == 1


def test_rows_and_plain_columns_must_fit_the_headings():
    with pytest.raises(ValueError, match="2 columns"):
        Table("t", ["a", "b"], [[1.0]])
    with pytest.raises(ValueError, match="plain"):
        Table("t", ["a"], [], plain=("b",))
