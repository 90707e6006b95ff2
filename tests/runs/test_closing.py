from __future__ import annotations

import os
from pathlib import Path

import pytest

from quarterturn.runs.closing import log_closing, log_unreadable


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def test_closing_names_outcome_paths_and_next_commands(caplog):
    log_closing(
        "1,347 images, 6 epochs",
        {"page": Path("runs/my photos/report.html"), "run": Path("runs/my photos")},
        [("probe", Path("runs/my photos"), "digits"), ("demo",)],
    )
    assert caplog.messages == [
        "1,347 images, 6 epochs\n"
        "page: runs/my photos/report.html\n"
        "run: runs/my photos\n"
        "next:\n"
        "  quarterturn probe 'runs/my photos' digits\n"
        "  quarterturn demo"
    ]


def test_names_that_are_no_utf8_are_printable(caplog):
    log_closing("done", {"file": Path(os.fsdecode(b"caf\xe9.csv"))}, [])
    assert caplog.messages == ["done\nfile: caf\\udce9.csv"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, "1 image file could not be read; r/items.csv lists them"),
        (1200, "1,200 image files could not be read; r/items.csv lists them"),
    ],
)
def test_unreadable_files_are_counted(caplog, number, message):
    log_unreadable({str(i): "damaged" for i in range(number)}, Path("r/items.csv"))
    assert caplog.messages == [message]
    assert caplog.records[0].levelname == "WARNING"


def test_unreadable_files_are_listed_where_no_file_lists_them(caplog):
    log_unreadable({"a.jpg": "damaged", "b.jpg": "empty"})
    assert caplog.messages == ["2 image files could not be read:\n  a.jpg: damaged\n  b.jpg: empty"]


def test_nothing_is_said_where_all_files_are_read(caplog):
    log_unreadable({}, Path("items.csv"))
    assert caplog.messages == []
