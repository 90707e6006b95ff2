import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from quarterturn import average_precision

# Ranked: + - + + - : precision at the positives 1, 2/3, 3/4.
SCORES = [0.9, 0.8, 0.7, 0.6, 0.5]
LABELS = [1, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("step", (1 + 2 / 3 + 3 / 4) / 3),
        ("envelope", (1 + 3 / 4 + 3 / 4) / 3),
        # Recall 1/3 covers the levels 0 to 0.3, the other seven have at best 3/4.
        ("11-point", (4 * 1 + 7 * 3 / 4) / 11),
    ],
)
def test_three_rules_by_hand(rule, expected):
    assert average_precision(SCORES, LABELS, rule=rule) == pytest.approx(expected, abs=1e-12)


def test_negatives_may_be_minus_one_or_false():
    expected = average_precision(SCORES, LABELS)
    assert average_precision(SCORES, [1, -1, 1, 1, -1]) == expected
    assert average_precision(SCORES, np.array(LABELS, dtype=bool)) == expected


def test_ignored_examples_count_neither_way():
    scores, labels = [0.95, *SCORES, 0.65], [0, *LABELS, 1]
    ignored = [True, *[False] * 5, True]
    for rule in ("step", "envelope", "11-point"):
        assert average_precision(scores, labels, ignored, rule) == average_precision(
            SCORES, LABELS, rule=rule
        )
    assert average_precision([np.nan, *SCORES], [7, *LABELS], [True, *[False] * 5]) > 0


def test_a_tie_counts_its_negatives_first():
    assert average_precision([0.5, 0.5], [1, 0]) == 0.5
    assert average_precision([0.5, 0.5], [0, 1]) == 0.5
    assert average_precision([0.9, 0.5, 0.5, 0.1], [1, 0, 1, 0]) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("rule", ["step", "envelope", "11-point"])
def test_a_constant_score_has_the_prevalence(rule):
    assert average_precision(np.zeros(8), [1, 0, 0, 1, 0, 0, 0, 0], rule=rule) == 0.25


def test_recall_levels_are_exact():
    # Ten positives, of which the first three are found at once and the others after ten negatives.
    scores = -np.arange(20)
    labels = [1] * 3 + [0] * 10 + [1] * 7
    expected = (4 * 1.0 + 7 * 10 / 20) / 11  # the levels 0, 0.1, 0.2 and 0.3 have precision 1
    assert average_precision(scores, labels, rule="11-point") == pytest.approx(expected, abs=1e-12)


examples = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=60).filter(
    lambda pairs: any(positive for _, positive in pairs)
)


@given(examples)
def test_step_is_that_of_scikit_learn(pairs):
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    # Integers, so that half a point puts the negatives of a tie first and moves nothing else.
    expected = average_precision_score(labels, scores - 0.5 * labels)
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


@given(examples, st.randoms())
def test_order_and_monotone_scores_change_nothing(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    for rule in ("step", "envelope", "11-point"):
        scores, labels = zip(*pairs, strict=True)
        expected = average_precision(scores, labels, rule=rule)
        scores, labels = zip(*shuffled, strict=True)
        found = average_precision(np.exp(scores), labels, rule=rule)
        assert found == pytest.approx(expected, abs=1e-12)


@given(examples)
def test_worst_order_step_and_envelope_ascend(pairs):
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    worst = average_precision(-labels.astype(float) + 1e-3 * np.arange(len(labels)), labels)
    step, envelope = (average_precision(scores, labels, rule=r) for r in ("step", "envelope"))
    assert worst - 1e-12 <= step <= envelope <= 1


def test_perfect_scores_are_one_by_every_rule():
    for rule in ("step", "envelope", "11-point"):
        assert average_precision([3, 2, 1, 0], [1, 1, 0, 0], rule=rule) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], [0, 0]), "needs a positive; there are none among 2"),
        (([0.1, 0.2], [1, 0], [True, False]), "none among 1"),
        (([0.1, np.nan], [1, 0]), "1 of 2 scores are NaN"),
        (([0.1], [1, 0]), r"alike, found \(1,\) and \(2,\)"),
        (([[0.1]], [[1]]), r"must be \(n,\)"),
        (([0.1, 0.2], [1, 2]), r"found \[2\]"),
        (([0.1, 0.2], [1, 0], [0, 1]), "booleans, found"),
        (([0.1, 0.2], [1, 0], None, "area"), "'area'; expected one of step, envelope, 11-point"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        average_precision(*arguments)
