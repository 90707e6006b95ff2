import math

import pytest

from quarterturn.config.bounds import LARGEST, Bounds

BOUNDS = [
    (Bounds(), "finite", [-5, 0, LARGEST], []),
    (Bounds(above=0), "positive", [1e-9, 3], [0, -1]),
    (Bounds(above=2), "above 2", [2.1], [2]),
    (Bounds(at_least=1), "1 or more", [1, 7], [0]),
    (Bounds(at_most=1), "1 or less", [1, -7], [1.1]),
    (Bounds(below=1), "below 1", [0.9], [1]),
    (Bounds(at_least=0, at_most=1), "from 0 to 1", [0, 1], [-0.1, 1.1]),
    (Bounds(at_least=0, below=1), "from 0 to below 1", [0, 0.99], [1]),
    (Bounds(above=0, at_most=0.5), "above 0, up to 0.5", [0.01, 0.5], [0, 0.6]),
    (Bounds(at_least=8, at_most=16_384), "from 8 to 16,384", [8, 16_384], [7, 16_385]),
    (Bounds(at_least=0, at_most=LARGEST), "from 0 to 1,000,000,000", [LARGEST], [LARGEST + 1]),
    (Bounds(above=0, below=1), "above 0, below 1", [0.5], [0, 1]),
]


@pytest.mark.parametrize(("bounds", "words", "inside", "outside"), BOUNDS)
def test_bounds_in_words_and_in_numbers(bounds, words, inside, outside):
    assert str(bounds) == words
    assert all(bounds.contain(value) for value in inside)
    assert not any(bounds.contain(value) for value in outside)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, 10**400])
def test_no_bounds_contain_what_is_no_usable_number(value):
    assert not any(bounds.contain(value) for bounds, *_ in BOUNDS)
