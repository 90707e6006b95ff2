import math

import pytest
import torch

from quarterturn.losses.weights import effective_number_weights, late_weights, weighted_mean


def test_weights_turn_on_at_their_time_and_stay():
    weights = torch.rand(3, 4)
    in_force = [late_weights(weights, 160 / 200, epoch / 200) for epoch in range(200)]
    assert in_force[:160] == [None] * 160
    assert all(found is weights for found in in_force[160:])


def test_no_weights_are_none_at_any_time():
    assert late_weights(None, 0.0, 0.5) is None


@pytest.mark.parametrize("beta", [0.5, 0.99, 0.9999, 1 - 1e-9])
def test_effective_number_weights_are_the_formulas(beta):
    counts = [5000, 387, 50, 1]
    plain = [(1 - beta) / -math.expm1(n * math.log(beta)) for n in counts]
    expected = [4 * w / sum(plain) for w in plain]
    found = effective_number_weights(counts, beta)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.sum().item() == pytest.approx(4, rel=1e-6)


def test_the_ends_of_beta():
    assert effective_number_weights([5000, 50, 1], beta=0).tolist() == [1, 1, 1]
    # Near 1, a class of half the images weighs twice as much.
    assert effective_number_weights([2, 1], beta=1 - 1e-9).tolist() == pytest.approx([2 / 3, 4 / 3])
    for beta in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=f"beta is {beta}"):
            effective_number_weights([2, 1], beta)


def test_empty_classes_are_refused_or_weigh_nothing():
    with pytest.raises(ValueError, match="no images of class 0, 2"):
        effective_number_weights([0, 9, 0, 3])
    found = effective_number_weights([0, 9, 0, 3], leave_out_empty=True)
    assert found[[0, 2]].tolist() == [0, 0]
    assert torch.equal(found[[1, 3]], effective_number_weights([9, 3]))


def test_weighted_mean_is_divided_by_the_sum_of_weights():
    values = torch.tensor([1.0, 2.0, 6.0])
    assert weighted_mean(values, None).item() == 3
    assert weighted_mean(values, torch.tensor([1.0, 1.0, 2.0])).item() == pytest.approx(15 / 4)
