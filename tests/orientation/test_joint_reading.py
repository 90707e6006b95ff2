import numpy as np
import pytest

from quarterturn.orientation.joint_reading import (
    USUAL_EXPONENT,
    copy_evidence,
    fit_exponent,
    read_jointly,
    rotation_accuracy,
)

from .upright_runs import sharp


def collection(
    n: int, *, turned: float = 0.1, sharpness: float = 1.5, common: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (n, 4, 4) of images some of which are stored turned, and these turns.

    Args:
        n: Images.
        turned: Share that is stored turned.
        sharpness: By how much the turn that is right shows.
        common: Share of the noise that is the same in all copies, which makes them one witness.
        seed: Fixes them.
    """
    rng = np.random.default_rng(seed)
    stored = np.where(rng.random(n) < turned, rng.integers(1, 4, n), 0)
    own, shared = rng.normal(size=(n, 4, 4)), rng.normal(size=(n, 1, 4))
    noise = np.sqrt(1 - common) * own + np.sqrt(common) * shared
    seen = noise + sharpness * np.eye(4)[stored][:, None]
    powers = np.exp(sharpness * seen)  # by stored turn, each copy calibrated by itself
    by_stored = powers / powers.sum(axis=2, keepdims=True)
    copies = np.arange(4)
    predictions = np.stack(
        [by_stored[:, k][:, (copies - k) % 4] for k in range(4)],
        axis=1,
    )
    return predictions, stored


def test_evidence_of_all_copies_adds_up() -> None:
    rng = np.random.default_rng(3)
    predictions = rng.dirichlet(np.ones(4), (5, 4))
    found = copy_evidence(predictions)
    for i in range(5):
        for s in range(4):
            logs = [np.log(predictions[i, k, (k + s) % 4]) for k in range(4)]
            assert found[i, s] == pytest.approx(sum(logs))


def test_turning_an_image_turns_what_is_read() -> None:
    predictions, _ = collection(50)
    turned = np.roll(predictions, -1, axis=1)  # copy 0 is now what copy 1 was, and so on
    np.testing.assert_allclose(copy_evidence(turned), np.roll(copy_evidence(predictions), 1, 1))


@pytest.mark.parametrize(("common", "expected"), [(0.0, 1.0), (1.0, 0.25)])
def test_copies_count_as_the_witnesses_that_they_are(common: float, expected: float) -> None:
    predictions, _ = collection(5000, common=common)
    assert fit_exponent(copy_evidence(predictions)) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("turned", [0.05, 0.4])
def test_probabilities_are_what_comes_true(common: float, turned: float) -> None:
    predictions, stored = collection(8000, turned=turned, sharpness=2.0, common=common)
    found = read_jointly(predictions, np.ones(8000, bool))
    assert 1 - found.shares[0] == pytest.approx((stored > 0).mean(), abs=0.02)
    listed = (found.stored.argmax(axis=1) > 0) & (found.stored.max(axis=1) >= 0.6)
    right = (found.stored.argmax(axis=1) == stored)[listed].mean()
    assert right == pytest.approx(found.stored.max(axis=1)[listed].mean(), abs=0.05)
    assert right > 0.7


def test_a_network_that_knows_nothing_has_the_accuracy_of_guessing() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.dirichlet(np.full(4, 0.3), (400, 4))  # sure, and at random
    found = read_jointly(predictions, np.ones(400, bool))
    assert found.accuracy is not None
    assert found.accuracy < 0.35
    flat = read_jointly(np.full((400, 4, 4), 0.25), np.ones(400, bool))
    assert flat.accuracy == pytest.approx(0.25)
    assert flat.shares[0] == pytest.approx(0.9, abs=0.01)


def test_only_new_images_set_the_exponent_and_accuracy() -> None:
    new, _ = collection(300, common=1.0)
    learned = sharp([0] * 300)
    both = np.concatenate([new, learned])
    found = read_jointly(both, np.arange(600) < 300)
    assert found.exponent == pytest.approx(fit_exponent(copy_evidence(new)), rel=1e-3)
    expected = rotation_accuracy(new, found.exponent, found.shares)
    assert found.accuracy == pytest.approx(expected)
    none = read_jointly(both, np.zeros(600, bool))
    assert none.exponent == USUAL_EXPONENT
    assert none.accuracy == pytest.approx(rotation_accuracy(both, USUAL_EXPONENT, none.shares))
    assert read_jointly(both[:0], np.zeros(0, bool)).accuracy is None


def test_unreadable_images_stay_in_their_places() -> None:
    predictions, _ = collection(20)
    predictions[3] = np.nan
    found = read_jointly(predictions, np.ones(20, bool))
    assert np.flatnonzero(np.isnan(found.stored[:, 0])).tolist() == [3]
    assert np.isfinite(found.stored[[0, 4]]).all()


def test_rotation_accuracy_is_judged_by_the_other_copies() -> None:
    equal = np.full(4, 0.25)
    predictions = sharp([0, 1, 2], 0.97)
    predictions[0, 2] = predictions[0, 1]  # one copy of twelve is wrong
    assert rotation_accuracy(predictions, 1.0, equal) == pytest.approx(11 / 12, abs=0.02)
    rng = np.random.default_rng(1)
    at_random = rng.dirichlet(np.full(4, 0.1), (2000, 4))
    assert rotation_accuracy(at_random, 1.0, equal) == pytest.approx(0.25, abs=0.02)
    always_the_same = np.tile(np.array([0.97, 0.01, 0.01, 0.01]), (50, 4, 1))
    assert rotation_accuracy(always_the_same, 1.0, equal) < 0.1
