import torch

from quarterturn.losses.weights import late_weights


def test_weights_turn_on_at_their_time_and_stay():
    weights = torch.rand(3, 4)
    in_force = [late_weights(weights, 160 / 200, epoch / 200) for epoch in range(200)]
    assert in_force[:160] == [None] * 160
    assert all(found is weights for found in in_force[160:])


def test_no_weights_are_none_at_any_time():
    assert late_weights(None, 0.0, 0.5) is None
