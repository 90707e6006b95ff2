from __future__ import annotations

import logging
import threading

import pytest

from quarterturn.progress import (
    ProgressReporter,
    duration,
    reporting,
    skip,
    stage,
)
from tests.fixtures.clocks import Clock


def test_without_a_reporter_nothing_is_counted_or_shown(caplog, capsys):
    caplog.set_level(logging.INFO)
    with stage("features", total=10) as bar:
        bar.advance(4, note="loss 0.3")
        bar.skip(2)
    assert (bar.done, bar.note) == (0, "")
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


def test_a_stage_counts_its_steps():
    with reporting(ProgressReporter()), stage("features", total=1956) as bar:
        bar.advance(800, note="loss 0.31")
        assert (bar.position, bar.note, bar.fraction) == ("800/1,956", "loss 0.31", 800 / 1956)
        bar.advance(0, note="loss 0.30")
        assert (bar.position, bar.note) == ("800/1,956", "loss 0.30")


def test_inner_stages_count_by_their_weight():
    reporter = ProgressReporter()
    with reporting(reporter), stage("pretrain", total=10) as outer:
        with stage("training", total=4, weight=8) as training:
            training.advance(3)
            assert reporter.fraction == pytest.approx(0.6)
        assert outer.done == 8
        with stage("clusters"):
            assert reporter.fraction == pytest.approx(0.8)  # nobody knows how far it is
        assert reporter.fraction == pytest.approx(0.9)
        assert outer.position == "90 %"


def test_a_stage_that_fails_does_not_count():
    reporter = ProgressReporter()
    with reporting(reporter), stage("upright", total=2) as outer:
        with pytest.raises(RuntimeError), stage("fold 1"):
            raise RuntimeError
        assert outer.done == 0
        assert reporter.stages == [outer]
    assert reporter.stages == []


def test_time_left_covers_all_folds(clock: Clock):
    reporter = ProgressReporter(clock)
    with reporting(reporter), stage("upright", total=5):
        with stage("fold 1/5", total=10) as fold:
            for _ in range(2):
                clock.now += 1
                fold.advance()
            assert reporter.left_s is None  # two steps are too few to say
            clock.now += 1
            fold.advance()
            assert reporter.left_s == pytest.approx(47)  # 3 of 50 steps, a second each
        with stage("fold 2/5", total=10):
            assert reporter.left_s == pytest.approx(12)  # the first ended early, at once


def test_steps_of_an_earlier_run_do_not_shorten_the_estimate(clock: Clock):
    reporter = ProgressReporter(clock)
    with reporting(reporter), stage("training", total=100) as bar:
        bar.skip(90)
        for _ in range(3):
            clock.now += 2
            bar.advance()
        assert reporter.left_s == pytest.approx(14)


def test_the_next_outermost_stage_starts_over(clock: Clock):
    reporter = ProgressReporter(clock)
    with reporting(reporter):
        with stage("first", total=4) as bar:
            bar.advance(2)
            bar.advance(1)
            bar.advance(1)
        clock.now += 100
        with stage("second", total=4) as bar:
            bar.advance()
            assert reporter.left_s is None
            assert reporter.elapsed_s == 0


def test_threads_may_advance_one_stage():
    with reporting(ProgressReporter()), stage("headers", total=4000) as bar:
        threads = [
            threading.Thread(target=lambda: [bar.advance() for _ in range(1000)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bar.done == 4000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h"), (864000, "10 days")],
)
def test_durations_as_people_say_them(seconds: float, words: str):
    assert duration(seconds) == words


def test_skipped_stages_count_without_speed(clock):
    reporter = ProgressReporter(clock)
    with reporting(reporter), stage("probe", total=100):
        skip("features", 40)
        assert reporter.fraction == pytest.approx(0.4)
        with stage("classifiers", total=3, weight=30) as bar:
            for _ in range(3):
                clock.now += 1
                bar.advance()
            # 30 of 100 in 3 s, so the last 30 take as long.
            assert reporter.left_s == pytest.approx(3)
