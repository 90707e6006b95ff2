import math

import numpy as np
import pytest

from quarterturn.orientation.scores import (
    agnostic_scores,
    agnostic_warning,
    half_turn_scores,
    probably_turned,
)


def predictions(*shape: int, sharpness: float = 1.0) -> np.ndarray:
    """(*shape, 4, 4) float32 probabilities."""
    logits = sharpness * np.random.default_rng(0).normal(size=(*shape, 4, 4))
    powers = np.exp(logits)
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


class TestAgnostic:
    def test_golden_values(self):
        uniform = np.full((4, 4), 0.25, dtype=np.float32)
        sure = np.eye(4, dtype=np.float32)
        halves = np.zeros((4, 4), dtype=np.float32)
        halves[:, :2] = 0.5  # one bit of two
        found = agnostic_scores(np.stack([uniform, sure, halves]))
        assert found == pytest.approx([1, 0, 0.5], abs=1e-6)
        # Sure and wrong is not agnostic: an image stored turned has an "up".
        assert agnostic_scores(np.roll(sure, 1, axis=0)) == pytest.approx(0, abs=1e-6)
        mixed = np.stack([uniform[0], sure[1], sure[2], halves[3]])
        assert agnostic_scores(mixed) == pytest.approx((1 + 0 + 0 + 0.5) / 4, abs=1e-6)

    def test_rounding_leads_nowhere_beyond(self):
        nearly = predictions(3000, sharpness=1e-5)
        nearly[::2] = np.nextafter(nearly[::2], np.float32(1))
        found = agnostic_scores(nearly)
        assert found.max() <= 1
        assert found.min() > 0.999
        assert not np.signbit(agnostic_scores(np.eye(4, dtype=np.float32)))

    @pytest.mark.parametrize("sharpness", [0.1, 2.0, 30.0])
    def test_is_the_definition(self, sharpness):
        probabilities = predictions(5, 3, sharpness=sharpness)
        found = agnostic_scores(probabilities)
        assert found.shape == (5, 3)
        for i in range(5):
            for view in range(3):
                entropies = [
                    -sum(p * math.log(p) for p in copy.tolist() if p > 0)
                    for copy in probabilities[i, view]
                ]
                expected = sum(entropies) / 4 / math.log(4)
                assert found[i, view] == pytest.approx(expected, abs=1e-6)


def test_half_turn_golden_values():
    p_upright = np.array(
        [[0.9, 0.1, 0.8, 0.1], [0.25] * 4, [0.5, 0.9, 0.1, 0.3], [1, 0, 1, 0]], dtype=np.float32
    )
    assert half_turn_scores(p_upright) == pytest.approx([0.7, 0, -0.5, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("p_upright", "turns"),
    [
        ([0.1, 0.8, 0.05, 0.05], 1),
        ([0.1, 0.05, 0.8, 0.05], 2),
        ([0.1, 0.05, 0.05, 0.8], 3),
        ([0.1, 0.6, 0.55, 0.9], 3),  # the surest
        ([0.1, 0.5, 0.5, 0.5], 0),  # above one half, not at it
        ([0.1, np.nextafter(0.5, 1), 0.2, 0.2], 1),
        ([0.25, 0.9, 0.0, 0.0], 0),  # as it is stored it is no worse than guessing
        ([np.nextafter(0.25, 0), 0.9, 0.0, 0.0], 1),
        ([0.9, 0.95, 0.95, 0.95], 0),  # no "up"
        ([0.0, 0.0, 0.0, 0.0], 0),
    ],
)
def test_probably_turned(p_upright, turns):
    found = probably_turned(np.array([p_upright, [0.7, 0.1, 0.1, 0.1]]))
    assert found.tolist() == [turns, 0]
    assert found.dtype == np.int64


class TestWarning:
    def test_comes_when_most_have_no_up(self):
        words = agnostic_warning(np.array([0.5, 0.9, 0.4999]))
        assert words.startswith('67% of the images have no "up" (agnostic score 0.5')
        for setting in ("--upright", "--rotation-weight 0", "--method instance"):
            assert setting in words

    @pytest.mark.parametrize("scores", [[0.5, 0.4999], [0.49] * 5, [0.1, 0.2, 0.9]])
    def test_half_are_not_most(self, scores):
        assert agnostic_warning(np.array(scores)) is None
