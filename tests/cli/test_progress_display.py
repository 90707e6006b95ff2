from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from quarterturn.cli.progress_display import LINE_EVERY_S, LineProgress, TerminalProgress
from quarterturn.progress import reporting, stage
from tests.fixtures.clocks import Clock


def test_a_line_is_logged_every_half_minute(clock: Clock, caplog):
    caplog.set_level(logging.INFO)
    with reporting(LineProgress(clock)), stage("upright", total=2):
        with stage("fold 1/2", total=100) as fold:
            for _ in range(61):
                clock.now += 1
                fold.advance(note="loss 0.310")
        clock.now += 1
    assert caplog.messages == [
        "upright 15 %, fold 1/2 30/100; loss 0.310; 3 min left",
        "upright 30 %, fold 1/2 60/100; loss 0.310; 2 min left",
        "fold 1/2: done in 61 s",
        "upright: done in 62 s",
    ]


def test_short_stages_log_no_line(clock: Clock, caplog):
    caplog.set_level(logging.INFO)
    with reporting(LineProgress(clock)), stage("features", total=3) as bar:
        for _ in range(3):
            clock.now += LINE_EVERY_S / 4
            bar.advance()
    assert caplog.messages == []


def test_an_error_is_not_logged_as_done(clock: Clock, caplog):
    caplog.set_level(logging.INFO)

    def fail_late() -> None:
        clock.now += 2 * LINE_EVERY_S
        raise RuntimeError

    with pytest.raises(RuntimeError), reporting(LineProgress(clock)), stage("features"):
        fail_late()
    assert caplog.messages == []


def test_a_terminal_shows_every_open_stage_and_the_time_left(clock: Clock):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    progress = TerminalProgress(console, clock)
    with reporting(progress), stage("upright", total=2), stage("fold [1]", total=1956) as fold:
        for _ in range(4):
            clock.now += 100
            fold.advance(200, note="loss 0.31")
        assert progress._bars is not None
        progress._bars.refresh()
        shown = screen.getvalue()
    for words in ("upright", "fold [1]", "800/1,956", "loss 0.31", "20 %", "26 min left"):
        assert words in shown
    assert progress._bars is None


def test_bars_go_away_when_a_stage_fails():
    progress = TerminalProgress(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RuntimeError), reporting(progress), stage("a", total=2), stage("b"):
        raise RuntimeError
    assert progress._bars is None
    assert progress.stages == []
