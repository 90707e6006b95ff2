import numpy as np
import pytest

from quarterturn.orientation.turns import NEW, VERDICTS, Turns


def turns(stored: list[list[float]], agnostic: list[float]) -> Turns:
    return Turns(np.array(stored), np.array(agnostic), [NEW] * len(stored))


EXAMPLES = turns(
    [
        [0.9, 0.1, 0.0, 0.0],
        [0.0, 0.9, 0.1, 0.0],
        [0.1, 0.0, 0.9, 0.0],
        [0.0, 0.1, 0.0, 0.9],
        [0.1, 0.7, 0.1, 0.1],
        [0.0, 0.9, 0.1, 0.0],
        [np.nan] * 4,
    ],
    [0.1, 0.2, 0.3, 0.4, 0.45, 0.6, np.nan],
)


def test_the_turn_undoes_the_stored_turn():
    # Stored turned by a quarter counter-clockwise: three more make it whole.
    assert EXAMPLES.to_upright[:6].tolist() == [0, 3, 2, 1, 3, 3]
    assert EXAMPLES.readable.tolist() == [True] * 6 + [False]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({}, ["upright", "turn 270", "turn 180", "turn 90", "unsure", "no up", "unreadable"]),
        (
            {"confidence": 0.7, "agnostic": 0.61},
            ["upright", "turn 270", "turn 180", "turn 90", "turn 270", "turn 270", "unreadable"],
        ),
        ({"confidence": 0.91}, ["unsure"] * 5 + ["no up", "unreadable"]),
        ({"agnostic": 0.1, "confidence": 1}, ["no up"] * 6 + ["unreadable"]),
        (
            {"agnostic": 0.4},  # that much or more
            ["upright", "turn 270", "turn 180", "no up", "no up", "no up", "unreadable"],
        ),
    ],
)
def test_verdicts(thresholds, expected):
    found = EXAMPLES.verdicts(**thresholds)
    assert found == expected
    assert set(found) <= set(VERDICTS)
