from __future__ import annotations

import logging
import sys

import pytest

from quarterturn.cli.terminal import WIDTH, narrated
from quarterturn.pages.tables import Table, show
from quarterturn.progress import stage

logger = logging.getLogger("quarterturn.somewhere")


def test_narration_goes_to_stderr_and_tables_to_stdout(capsys):
    with narrated():
        logger.info("12 images [of 15] in /tmp/x")
        logger.warning("the rest is gone")
        show(Table("Accuracy [top-1]", ["features", "kNN"], [["both", 0.934]]))
    out, err = capsys.readouterr()
    assert err == "12 images [of 15] in /tmp/x\nwarning: the rest is gone\n"
    assert "Accuracy [top-1]" in out
    assert "93.4 %" in out


def test_a_log_keeps_long_lines_whole(capsys):
    line = "word " * (WIDTH // 5 - 1) + "end"
    with narrated():
        logger.info(line)
    assert capsys.readouterr().err == line + "\n"


def test_other_processes_are_silent(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "1")
    with narrated():
        logger.info("hello")
        show(Table("t", ["a"], [["x"]]))
    assert capsys.readouterr() == ("", "")


def test_the_library_is_silent_and_as_it_was_afterwards(capsys):
    handlers, level = logger.parent.handlers[:], logger.parent.level
    with narrated():
        pass
    logger.warning("hello")
    assert (logger.parent.handlers, logger.parent.level) == (handlers, level)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_bars_and_the_lines_above_them(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with narrated(), stage("features", total=2) as bar:
        bar.advance()
        logger.info("a line")
    err = capsys.readouterr().err
    assert "features" in err
    assert "a line" in err
