import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.errors import CheckpointError
from quarterturn.models.bank import InstanceBank


@pytest.mark.parametrize("dim", [3, 48, 128])
def test_rows_start_uniform_within_the_bound(dim):
    bank = InstanceBank(20_000 // dim * 8, dim)
    bound = 1 / math.sqrt(dim / 3)
    assert bank.rows.dtype == torch.float32
    assert bank.rows.abs().max() <= bound
    assert bank.rows.max() > 0.99 * bound
    assert bank.rows.min() < -0.99 * bound
    assert abs(bank.rows.mean().item()) < 4 * bound / math.sqrt(3 * bank.rows.numel())
    # The variance of a uniform in +-bound is bound^2 / 3, so the squared length is 1 on average.
    assert bank.rows.square().sum(dim=1).mean().item() == pytest.approx(1, abs=0.03)
    assert bank.normalizer is None


def test_rows_depend_only_on_the_seed():
    before = torch.random.get_rng_state()
    first = InstanceBank(10, 4, seed=3).rows
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(InstanceBank(10, 4, seed=3).rows, first)
    assert not torch.equal(InstanceBank(10, 4, seed=4).rows, first)


@pytest.mark.parametrize("momentum", [0.5, 0.0, 0.9])
def test_update_is_the_formula_and_moves_only_given_rows(momentum):
    bank = InstanceBank(12, 5, momentum)
    old = bank.rows.clone()
    indices = torch.tensor([7, 0, 11])
    embeddings = F.normalize(torch.randn(3, 5), dim=1)
    bank.update(indices, embeddings)
    for row, v in zip(indices.tolist(), embeddings.double().numpy(), strict=True):
        mixed = momentum * old[row].double().numpy() + (1 - momentum) * v
        expected = mixed / math.sqrt(sum(x * x for x in mixed))
        np.testing.assert_allclose(bank.rows[row].numpy(), expected, atol=1e-6)
    others = [i for i in range(12) if i not in (7, 0, 11)]
    assert torch.equal(bank.rows[others], old[others])


def test_the_papers_momentum_is_the_default():
    bank = InstanceBank(2, 2)
    bank.rows[0] = torch.tensor([1.0, 0.0])
    bank.update(torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    assert bank.rows[0].tolist() == pytest.approx([math.sqrt(0.5), math.sqrt(0.5)])


def test_update_takes_half_precision_and_keeps_no_graph():
    bank, same = InstanceBank(4, 6), InstanceBank(4, 6)
    v = F.normalize(torch.randn(2, 6), dim=1).bfloat16()
    bank.update(torch.tensor([1, 2]), v.clone().requires_grad_())
    same.update(torch.tensor([1, 2]), v.float())
    assert bank.rows.dtype == torch.float32
    assert not bank.rows.requires_grad
    assert torch.equal(bank.rows, same.rows)


def test_a_row_comes_to_an_embedding_that_stays():
    bank = InstanceBank(3, 4)
    target = F.normalize(torch.randn(1, 4), dim=1)
    for _ in range(30):
        bank.update(torch.tensor([1]), target)
    torch.testing.assert_close(bank.rows[1:2], target)


@pytest.mark.parametrize("normalizer", [None, 123.5])
def test_state_comes_back(normalizer):
    bank = InstanceBank(6, 3, seed=1)
    bank.normalizer = None if normalizer is None else torch.tensor(normalizer)
    other = InstanceBank(6, 3, seed=2)
    other.normalizer = torch.tensor(1.0)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.rows, bank.rows)
    assert (None if other.normalizer is None else other.normalizer.item()) == normalizer


@pytest.mark.parametrize("shape", [(7, 3), (6, 4)])
def test_a_bank_of_another_collection_is_refused(shape):
    bank = InstanceBank(6, 3)
    rows = bank.rows.clone()
    with pytest.raises(CheckpointError, match=r"\(6, 3\)"):
        bank.load_state_dict(InstanceBank(*shape).state_dict())
    assert torch.equal(bank.rows, rows)
