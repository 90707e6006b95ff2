import math
from fractions import Fraction

import pytest

from quarterturn.config import OptimizerConfig
from quarterturn.engine.schedule import (
    first_epoch,
    learning_rate,
    phase_at,
    phases,
    progress,
    warmup_factor,
)
from quarterturn.methods.configuration import Config
from quarterturn.presets import preset

PAPER = preset("imagenet-alexnet").optimizer


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.01),
        (89, 0.01),
        (90, 1e-3),
        (129, 1e-3),
        (130, 1e-4),
        (189, 1e-4),
        (190, 1e-5),
        (209, 1e-5),
        (210, 1e-4),
        (229, 1e-4),
        (230, 1e-5),
        (244, 1e-5),
    ],
)
def test_the_papers_rates(epoch, rate):
    assert learning_rate(epoch, 245, PAPER) == pytest.approx(rate, rel=1e-12)


def test_the_papers_rates_survive_json():
    config = preset("imagenet-alexnet")
    stored = Config.from_dict(config.to_dict()).optimizer
    assert [learning_rate(e, 245, stored) for e in range(245)] == [
        learning_rate(e, 245, PAPER) for e in range(245)
    ]


@pytest.mark.parametrize("epochs", [1, 10, 49, 100, 245, 490, 1225])
def test_the_whole_schedule_scales_with_the_epochs(epochs):
    changes = [Fraction(m, 245) for m in (90, 130, 190, 210, 230)]
    rates = [0.01, 1e-3, 1e-4, 1e-5, 1e-4, 1e-5]
    for epoch in range(epochs):
        passed = sum(Fraction(epoch, epochs) >= change for change in changes)
        assert learning_rate(epoch, epochs, PAPER) == pytest.approx(rates[passed], rel=1e-12)


def test_twice_the_epochs_change_at_twice_the_epoch():
    for before, after in [(179, 180), (259, 260), (379, 380), (419, 420), (459, 460)]:
        assert learning_rate(before, 490, PAPER) == learning_rate(before // 2, 245, PAPER)
        assert learning_rate(after, 490, PAPER) == learning_rate(after // 2, 245, PAPER)
        assert learning_rate(before, 490, PAPER) != learning_rate(after, 490, PAPER)


def test_cosine_by_hand():
    settings = OptimizerConfig(learning_rate=0.4)
    rates = [learning_rate(epoch, 4, settings) for epoch in range(4)]
    # (1 + cos) / 2 at 0, 45, 90, 135 degrees.
    half = math.sqrt(0.5)
    assert rates == pytest.approx([0.4, 0.2 * (1 + half), 0.2, 0.2 * (1 - half)], rel=1e-12)


def test_the_cosine_falls_within_an_epoch_and_steps_do_not():
    cosine = OptimizerConfig(learning_rate=0.4)
    half = math.sqrt(0.5)
    assert learning_rate(0.5, 2, cosine) == pytest.approx(0.2 * (1 + half), rel=1e-12)
    assert learning_rate(1 - 1e-9, 1, cosine) == pytest.approx(0, abs=1e-12)
    steps = OptimizerConfig(
        learning_rate=0.4, schedule="step", milestones=(0.5,), factors=(1.0, 0.1)
    )
    # Half of five epochs is amid the third; the rate changes with the fourth.
    assert [learning_rate(e, 5, steps) for e in (2.0, 2.9, 3.0)] == pytest.approx([0.4, 0.4, 0.04])


def test_warm_up_rises_to_the_base_rate():
    settings = OptimizerConfig(learning_rate=1.0, warmup=0.2)
    rates = [learning_rate(epoch, 20, settings) for epoch in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], rel=1e-12)
    falling = [(1 + math.cos(math.pi * i / 16)) / 2 for i in range(16)]
    assert rates[4:] == pytest.approx(falling, rel=1e-12)
    assert all(rate > 0 for rate in rates)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.9])
def test_a_single_epoch_has_a_rate(warmup):
    rate = learning_rate(0, 1, OptimizerConfig(learning_rate=0.1, warmup=warmup))
    assert 0 < rate <= 0.1


def test_a_cosine_falls_once_more_in_the_noise_aware_phase():
    settings = OptimizerConfig(learning_rate=0.4, noise_aware_from=0.5, noise_aware_rate=0.1)
    half = math.sqrt(0.5)
    falls = [1, (1 + half) / 2, 0.5, (1 - half) / 2]  # (1 + cos) / 2 at 0, 45, 90, 135 degrees
    rates = [learning_rate(epoch, 8, settings) for epoch in range(8)]
    assert rates == pytest.approx([0.4 * f for f in falls] + [0.04 * f for f in falls], rel=1e-12)
    # It is low at the phase's door, however close.
    assert learning_rate(4 - 1e-9, 8, settings) == pytest.approx(0, abs=1e-12)
    assert learning_rate(4, 8, settings) == pytest.approx(0.04, rel=1e-12)


@pytest.mark.parametrize("epochs", [1, 7, 49, 100, 245, 490])
def test_a_phase_begins_at_the_epoch_that_reaches_its_fraction(epochs):
    settings = OptimizerConfig(learning_rate=1.0, noise_aware_rate=0.1)
    for epoch in range(epochs):
        in_phase = Fraction(epoch, epochs) >= Fraction(210, 245)
        assert (progress(epoch, epochs) >= settings.noise_aware_from) == in_phase
        first = in_phase and Fraction(epoch - 1, epochs) < Fraction(210, 245)
        if first:
            assert learning_rate(epoch, epochs, settings) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize(("start", "first"), [(0.0, 0.1), (1.0, 1.0)])
def test_a_phase_that_is_all_or_nothing(start, first):
    settings = OptimizerConfig(learning_rate=1.0, noise_aware_from=start, noise_aware_rate=0.1)
    plain = [learning_rate(e, 5, OptimizerConfig(learning_rate=first)) for e in range(5)]
    assert [learning_rate(e, 5, settings) for e in range(5)] == pytest.approx(plain, rel=1e-12)


def test_progress_counts_whole_epochs():
    assert [progress(epoch, 4) for epoch in (0, 0.9, 1, 3.99)] == [0, 0, 0.25, 0.75]


@pytest.mark.parametrize(
    ("start", "epochs", "first"),
    [
        (210 / 245, 245, 210),
        (210 / 245, 490, 420),
        (210 / 245, 10, 9),  # 8.57 epochs: the tenth is the first that is wholly in it
        (210 / 245, 7, 6),
        (210 / 245, 6, 6),  # never
        (0.0, 5, 0),
        (0.5, 5, 3),
        (0.5, 2, 1),
        (0.9, 2, 2),
        (1.0, 4, 4),
        (0.5, 0, 0),
    ],
)
def test_the_first_epoch_of_a_phase(start, epochs, first):
    assert first_epoch(start, epochs) == first
    reached = [e for e in range(epochs) if progress(e, epochs) >= start]
    assert reached == list(range(first, epochs))


def test_the_first_steps_warm_up_linearly():
    settings = OptimizerConfig(warmup_steps=4)
    assert [warmup_factor(step, settings) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup_factor(0, OptimizerConfig()) == 1


def test_phases_lie_between_restarts():
    assert phases(10) == [range(10)]
    assert phases(20, (10, 15)) == [range(10), range(10, 15), range(15, 20)]
    assert phases(0) == [range(0)]
    found = [phase_at(epoch, 20, (10, 15)).start for epoch in (0, 9.9, 10, 14.9, 15, 20)]
    assert found == [0, 0, 10, 10, 15, 15]
