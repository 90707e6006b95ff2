"""Shapes: B = 5 images of 8 px out of N = 20, D = 12 features of both networks."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from quarterturn.errors import ConfigError
from quarterturn.methods.balance import PretextBalance
from quarterturn.methods.class_balance import Balance
from quarterturn.methods.distill import Distillation, TaughtNetwork
from quarterturn.methods.rotation_balance import RotationBalance
from quarterturn.models.backbone import Backbone

N, D = 20, 12


@pytest.fixture
def make(tiny_backbone):
    """Builds the method with a teacher of other weights; keywords are Distillation's."""
    teacher = copy.deepcopy(tiny_backbone)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(0.8).add_(0.02)
    network = TaughtNetwork(tiny_backbone)

    def build(**keywords) -> Distillation:
        return Distillation(network, teacher.eval(), **keywords)

    return build


def numpy_terms(method, batch, weights=None) -> dict[str, float]:
    """Both terms, one image at a time in float64."""
    network = method.network
    heads = [
        [p.detach().double().numpy() for p in head.parameters()]
        for head in (network.rotation_head, network.projection)
    ]
    distances, entropies = [], []
    for i, image in enumerate(batch.images.numpy()):
        k = int(method.turns(batch)[i])
        turned = torch.from_numpy(np.rot90(image, k, (1, 2)).copy())[None]
        feature = network.backbone(turned)[0].double().numpy()
        target = method.teacher(batch.images[i : i + 1])[0].double().numpy()
        logits = heads[0][0] @ feature[: D // 2] + heads[0][1]
        said = heads[1][0] @ feature[D // 2 :] + heads[1][1]
        distances.append(1 - said @ target / np.linalg.norm(said) / np.linalg.norm(target))
        weight = 1 if weights is None else weights[int(batch.indices[i]), k]
        entropies.append(weight * (np.log(np.exp(logits).sum()) - logits[k]))
    return {"teacher": np.mean(distances), "rotation": np.mean(entropies)}


@torch.no_grad()
def test_the_losses_are_a_loop_over_images(make, batch):
    method = make()
    method.network.eval()
    found = method.losses(method.network, batch, step=0).terms
    assert found == pytest.approx(numpy_terms(method, batch), rel=1e-5)
    assert method.term_weights == {"teacher": 5.0, "rotation": 0.4}


@torch.no_grad()
def test_copies_that_look_upright_weigh_less(make, batch, rng):
    p_upright = torch.from_numpy(rng.uniform(size=(N, 4)).astype(np.float32))
    method = make(p_upright=p_upright, noise_aware_from=0.5)
    method.network.eval()
    weights = 1 - p_upright.numpy() ** 2
    weights[:, 0] = 1
    for progress, expected in ((0.4, None), (0.5, weights)):
        found = method.losses(method.network, batch, 0, progress).terms
        assert found == pytest.approx(numpy_terms(method, batch, expected), rel=1e-5)


def test_turns_follow_from_seed_epoch_and_image(make, batch):
    method = make()
    everyone = replace(batch, indices=torch.arange(4000))
    turns = method.turns(everyone)[:, 0]
    assert torch.bincount(turns) == pytest.approx([1000] * 4, abs=100)
    assert torch.equal(method.turns(batch)[:, 0], turns[batch.indices])
    for other in (make(seed=1).turns(everyone), method.turns(replace(everyone, epoch=1))):
        assert (other[:, 0] == turns).float().mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(("term", "half"), [("rotation", slice(0, 6)), ("teacher", slice(6, 12))])
def test_each_term_teaches_one_half(make, batch, term, half):
    method = make()
    loss = method.losses(method.network.train(), batch, step=0).terms[term]
    fc = method.network.backbone.stages["fc"][1]
    (gradient,) = torch.autograd.grad(loss, fc.weight)
    taught = gradient.any(dim=1)
    assert taught[half].any()
    assert taught.sum() == taught[half].sum()


def test_the_teacher_stays_and_is_no_part_of_the_network(make, batch, state_of, unchanged):
    method = make()
    before = state_of(method)
    teacher = copy.deepcopy(method.teacher.state_dict())
    output = method.losses(method.network.train(), batch, step=0)
    sum(output.terms.values()).backward()
    assert unchanged(before, state_of(method))
    assert all(torch.equal(v, teacher[n]) for n, v in method.teacher.state_dict().items())
    assert not any(p.grad is not None for p in method.teacher.parameters())
    assert not any("teacher" in name for name in method.network.state_dict())
    assert method.state_dict() == {}
    assert output.embeddings is None


@torch.no_grad()
def test_parts_of_a_balanced_batch_add_up(make, batch):
    turns = Balance(torch.ones(4), torch.zeros(4), torch.tensor([0.5, 1.0, 2.0, 4.0]))
    method = make(balance=PretextBalance(RotationBalance(30.0, turns=turns)))
    method.network.eval()
    whole = method.losses(method.network, batch, step=0).terms
    pieces = batch.split(2)
    amounts = [method.amounts(piece) for piece in pieces]
    terms = [method.losses(method.network, piece, step=0).terms for piece in pieces]
    for name, value in whole.items():
        total = sum(of[name] for of in amounts)
        parts = [of[name] / total * term[name] for of, term in zip(amounts, terms, strict=True)]
        torch.testing.assert_close(sum(parts), value)


def test_an_odd_width_has_no_halves():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    with pytest.raises(ConfigError, match="odd width 5"):
        TaughtNetwork(Backbone([("net", net)], ["net"], feature_dim=5))
