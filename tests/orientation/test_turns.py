from dataclasses import replace

import numpy as np
import pytest

from quarterturn.orientation.turns import NEW, VERDICTS, Turns


def turns(rows: list[list[float]], agnostic: list[float]) -> Turns:
    stored, agreed = np.array(rows), np.full((len(rows), 4), 0.25)
    return Turns(stored, agreed, np.array(agnostic), [NEW] * len(stored))


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
        ({}, ["upright", "turn 270", "turn 180", "turn 90", "unsure", "no clear up", "unreadable"]),
        (
            {"confidence": 0.7, "agnostic": 0.61},
            ["upright", "turn 270", "turn 180", "turn 90", "turn 270", "turn 270", "unreadable"],
        ),
        ({"confidence": 0.91}, ["unsure"] * 5 + ["no clear up", "unreadable"]),
        ({"agnostic": 0.1, "confidence": 1}, ["no clear up"] * 6 + ["unreadable"]),
        (
            {"agnostic": 0.4},  # that much or more
            [
                "upright",
                "turn 270",
                "turn 180",
                "no clear up",
                "no clear up",
                "no clear up",
                "unreadable",
            ],
        ),
    ],
)
def test_verdicts(thresholds, expected):
    found = EXAMPLES.verdicts(**thresholds)
    assert found == expected
    assert set(found) <= set(VERDICTS)


def test_an_image_whose_copies_agree_has_an_up():
    agreed = np.array([[0.0, 0.85, 0.15, 0.0], [0.0, 0.75, 0.25, 0.0]])
    stored = np.array([[0.1, 0.85, 0.05, 0.0]] * 2)
    found = Turns(stored, agreed, np.array([0.9, 0.9]), [NEW] * 2)
    assert found.verdicts() == ["turn 270", "no clear up"]


def test_networks_that_cannot_tell_say_nothing_of_any_image():
    found = replace(EXAMPLES, tells=False).verdicts()
    assert found == ["cannot tell yet"] * 6 + ["unreadable"]
    assert EXAMPLES.is_turned[:3].tolist() == pytest.approx([0.1, 1, 0.9])
