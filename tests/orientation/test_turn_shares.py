import numpy as np
import pytest

from quarterturn.orientation.turn_shares import PRIOR_COUNTS, estimate_shares, with_shares


def drawn(shares: list[float], n: int, sharpness: float, seed: int = 0) -> np.ndarray:
    """(n, 4) exact predictions, under equal shares, of images drawn with other ones.

    An image shows four normal values, that of its turn higher: their softmax, at the right scale,
    is the posterior under equal shares.
    """
    rng = np.random.default_rng(seed)
    turns = rng.choice(4, n, p=shares)
    seen = rng.normal(size=(n, 4)) + sharpness * np.eye(4)[turns]
    powers = np.exp(sharpness * seen)
    return powers / powers.sum(axis=1, keepdims=True)


def by_hand(predictions: np.ndarray, counts: tuple[float, ...], steps: int) -> np.ndarray:
    """Expectation maximisation, image by image."""
    shares = [count / sum(counts) for count in counts]
    for _ in range(steps):
        totals = list(counts)
        for image in predictions:
            weights = [p * share for p, share in zip(image, shares, strict=True)]
            for k in range(4):
                totals[k] += weights[k] / sum(weights)
        shares = [total / sum(totals) for total in totals]
    return np.array(shares)


def test_it_is_expectation_maximisation() -> None:
    predictions = drawn([0.7, 0.1, 0.1, 0.1], 60, 1.5)
    expected = by_hand(predictions, PRIOR_COUNTS, 500)
    np.testing.assert_allclose(estimate_shares(predictions), expected, atol=1e-4)


@pytest.mark.parametrize("sharpness", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("shares", [[0.91, 0.03, 0.03, 0.03], [0.4, 0.3, 0.2, 0.1], [0.25] * 4])
def test_known_shares_are_found(shares: list[float], sharpness: float) -> None:
    found = estimate_shares(drawn(shares, 20_000, sharpness))
    np.testing.assert_allclose(found, shares, atol=0.02)


def test_the_right_shares_make_the_predictions_right() -> None:
    predictions = drawn([0.91, 0.03, 0.03, 0.03], 40_000, 2.0)
    turned = with_shares(predictions, estimate_shares(predictions))[:, 1:].sum(axis=1)
    # Among equally likely turns twice as many would be listed, and two in three wrongly.
    assert turned.mean() == pytest.approx(0.09, abs=0.01)
    assert 0.2 < predictions[:, 1:].sum(axis=1).mean() < 0.4


def test_few_images_leave_room_for_what_was_not_seen() -> None:
    upright = np.tile([0.97, 0.01, 0.01, 0.01], (3, 1))
    assert estimate_shares(upright)[0] == pytest.approx(0.925, abs=0.03)
    sideways = upright[:, [1, 0, 2, 3]]
    found = estimate_shares(sideways)
    assert 0.05 < found[1] < 0.3
    assert with_shares(sideways, found)[0, 1] > 0.9


def test_where_nothing_is_known_the_prior_stays() -> None:
    found = estimate_shares(np.full((5000, 4), 0.25))
    np.testing.assert_allclose(found, np.array(PRIOR_COUNTS) / 10, atol=1e-3)
    np.testing.assert_allclose(estimate_shares(np.empty((0, 4))), np.array(PRIOR_COUNTS) / 10)
