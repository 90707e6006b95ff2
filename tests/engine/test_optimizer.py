import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.config import OptimizerConfig
from quarterturn.engine.optimizer import build_optimizer, rescale_momentum


def small_network():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_covers_every_parameter(name):
    network = small_network()
    settings = OptimizerConfig(optimizer=name, learning_rate=0.03, weight_decay=0.25)
    optimizer = build_optimizer(network, settings)
    covered = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(covered) == sorted(id(p) for p in network.parameters())
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.25}
    assert {group["lr"] for group in optimizer.param_groups} == {0.03}


def test_without_gradients_only_decay_shrinks_parameters():
    network = small_network()
    nn.init.constant_(network[1].bias, 0.5)
    settings = OptimizerConfig(learning_rate=0.1, momentum=0.0, weight_decay=0.5)
    optimizer = build_optimizer(network, settings)
    before = [p.detach().clone() for p in network.parameters()]
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert len(before) == 6
    for old, new in zip(before, network.parameters(), strict=True):
        assert old.abs().sum() > 0
        torch.testing.assert_close(new.detach(), old * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0])
def test_sgd_is_nesterovs_or_plain(momentum, nesterov, rng):
    parameter = nn.Parameter(torch.tensor(rng.normal(size=4)))
    network = nn.Module()
    network.weight = parameter
    rate, decay = 0.05, 5e-4
    settings = OptimizerConfig(
        learning_rate=rate, momentum=momentum, nesterov=nesterov, weight_decay=decay
    )
    optimizer = build_optimizer(network, settings)
    p, velocity = parameter.detach().numpy().copy(), np.zeros(4)
    for _ in range(4):
        gradient = rng.normal(size=4)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        decayed = gradient + decay * p
        velocity = momentum * velocity + decayed
        p = p - rate * (decayed + momentum * velocity if nesterov else velocity)
        np.testing.assert_allclose(parameter.detach().numpy(), p, rtol=1e-12)


def test_defaults_are_the_papers():
    optimizer = build_optimizer(small_network(), OptimizerConfig())
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)


def test_adamw_decays_apart_from_the_gradient():
    network = small_network()
    settings = OptimizerConfig(optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    optimizer = build_optimizer(network, settings)
    assert isinstance(optimizer, torch.optim.AdamW)
    old = network[3].weight.detach().clone()
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    # Adam's first step is the rate times the gradient's sign.
    torch.testing.assert_close(network[3].weight.detach(), old * (1 - 0.05) - 0.1)


OPTIMIZERS = {
    "sgd": (OptimizerConfig(learning_rate=0.05), torch.optim.SGD),
    "adamw": (
        OptimizerConfig(optimizer="adamw", learning_rate=2e-3, weight_decay=0.1),
        torch.optim.AdamW,
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_kernel_is_asked_for_all_parameters(name):
    optimizer = build_optimizer(small_network(), OPTIMIZERS[name][0])
    assert [group["fused"] for group in optimizer.param_groups] == [True]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_not_where_torch_has_none(name):
    with torch.device("meta"):
        network = small_network()
    optimizer = build_optimizer(network, OPTIMIZERS[name][0])
    assert not any(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_steps_are_torchs_unfused_ones(name):
    settings, kind = OPTIMIZERS[name]
    ours, theirs = small_network(), small_network()
    theirs.load_state_dict(ours.state_dict())
    optimizer = build_optimizer(ours, settings)
    momentum = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    plain = kind(
        theirs.parameters(),
        weight_decay=settings.weight_decay,
        fused=False,
        foreach=False,
        **momentum,
    )
    start = [p.detach().clone() for p in ours.parameters()]
    generator = torch.Generator().manual_seed(1)
    for step in range(5):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for chosen in (optimizer, plain):
            chosen.param_groups[0]["lr"] = settings.learning_rate / (step + 1)  # as the loop does
            chosen.step()
    for one, other, before in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert (one - before).abs().max() > 1e-3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_resumes_where_it_was_saved(name):
    """Fused kernels keep counts and moments as others do: through a file to the bit."""
    settings, _ = OPTIMIZERS[name]
    whole, parted = small_network(), small_network()
    parted.load_state_dict(whole.state_dict())
    ends = []
    for network, stops in ((whole, False), (parted, True)):
        optimizer = build_optimizer(network, settings)
        generator = torch.Generator().manual_seed(1)
        for step in range(4):
            if stops and step == 2:
                state = optimizer.state_dict()
                optimizer = build_optimizer(network, settings)
                optimizer.load_state_dict(state)
                assert optimizer.param_groups[0]["fused"]
            for p in network.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        ends.append([p.detach() for p in network.parameters()])
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other)


def test_layer_decay_slows_what_lies_nearer_to_the_images():
    network = small_network()
    depths = {"0.weight": 0, "0.bias": 0, "1.weight": 1, "1.bias": 1}  # without one: the head's
    settings = OptimizerConfig(learning_rate=0.1, layer_decay=0.5)
    groups = build_optimizer(network, settings, depths).param_groups
    assert [group["rate_scale"] for group in groups] == [0.25, 0.5, 1.0]
    members = [network[0].parameters(), network[1].parameters(), network[3].parameters()]
    for group, parameters in zip(groups, members, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in parameters]
    assert len(build_optimizer(network, OptimizerConfig(), depths).param_groups) == 1


def test_biases_have_a_rate_of_their_own():
    network = small_network()
    groups = build_optimizer(network, OptimizerConfig(bias_rate=2.0)).param_groups
    assert [group["rate_scale"] for group in groups] == [1.0, 2.0]
    names = {id(p): name for name, p in network.named_parameters()}
    for group, is_bias in zip(groups, (False, True), strict=True):
        assert {names[id(p)].endswith("bias") for p in group["params"]} == {is_bias}
    assert sum(len(group["params"]) for group in groups) == len(names)


@pytest.mark.parametrize("bias_rate", [1.0, 2.0])
def test_biases_need_not_decay(bias_rate):
    settings = OptimizerConfig(bias_rate=bias_rate, decay_biases=False, weight_decay=0.1)
    network = small_network()
    optimizer = build_optimizer(network, settings)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        is_kept = torch.equal(parameter, before[name])
        assert is_kept == (name.endswith("bias") or not before[name].any()), name


def test_momentum_in_units_of_the_step_is_caffes():
    """Caffe: v = m v + rate * (g + decay w), w -= v; the rate is halved after three steps."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, generator=generator, dtype=torch.float64)
    gradients = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    rates = [0.1] * 3 + [0.05] * 3 + [0.025] * 2
    expected, velocity = start.clone(), torch.zeros(5, dtype=torch.float64)
    for rate, gradient in zip(rates, gradients, strict=True):
        velocity = 0.9 * velocity + rate * (gradient + 0.01 * expected)
        expected = expected - velocity
    found = {}
    for follows in (True, False):
        weight = nn.Parameter(start.clone())
        settings = OptimizerConfig(learning_rate=0.1, nesterov=False, weight_decay=0.01)
        optimizer = build_optimizer(nn.ParameterDict({"weight": weight}), settings)
        for step, (rate, gradient) in enumerate(zip(rates, gradients, strict=True)):
            optimizer.param_groups[0]["lr"] = rate
            if follows and step and rate != rates[step - 1]:
                rescale_momentum(optimizer, rates[step - 1] / rate)
            weight.grad = gradient.clone()
            optimizer.step()
        found[follows] = weight.detach()
    torch.testing.assert_close(found[True], expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found[False], expected, rtol=1e-3)
