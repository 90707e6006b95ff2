from __future__ import annotations

import sys

import pytest

from quarterturn.runs import command_line


def test_the_command_line_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/quarterturn", "pretrain", "my photos"])
    assert command_line() == "quarterturn pretrain 'my photos'"
    monkeypatch.setattr(sys, "argv", ["script.py", "x"])
    assert command_line() == "called from Python"
