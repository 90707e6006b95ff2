"""Shapes: n = 4000 images."""

import pytest
import torch

from quarterturn.data.view_law import ViewLaw

IMAGES = torch.arange(4000)


def test_full_turns_are_uniform_and_independent():
    turns = ViewLaw(num_full=2).turns(IMAGES, seed=0, epoch=0)
    assert turns.shape == (4000, 2)
    pairs = (4 * turns[:, 0] + turns[:, 1]).bincount(minlength=16)
    assert pairs.min() > 200
    assert pairs.max() < 300


@pytest.mark.parametrize("num_small", [1, 3, 4, 6, 8])
def test_small_turns_are_successive_permutations(num_small):
    turns = ViewLaw(2, num_small, 8).turns(IMAGES, seed=0, epoch=0)[:, 2:]
    for start in range(0, num_small, 4):
        part = turns[:, start : start + 4]
        assert all(len(set(row)) == len(row) for row in part.tolist())
        counts = torch.nn.functional.one_hot(part, 4).sum(dim=0)  # place by turn
        assert counts.min() > 900
        assert counts.max() < 1100
    if num_small == 8:
        assert not torch.equal(turns[:, :4], turns[:, 4:])


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_share_of_images_has_one_turn_in_full_views(share):
    turns = ViewLaw(3, same_turn=share).turns(IMAGES, seed=0, epoch=0)
    equal = (turns == turns[:, :1]).all(dim=1).float().mean().item()
    assert equal == pytest.approx(share + (1 - share) / 16, abs=0.03)


def test_views_stay_upright_where_they_are_not_turned():
    turns = ViewLaw(2, 4, 8, turned=False).turns(IMAGES, seed=0, epoch=0)
    assert turns.shape == (4000, 6)
    assert not turns.any()


def test_every_view_of_every_image_has_its_own_number():
    assert len(ViewLaw(2, 4, 8).keys(IMAGES, seed=0).unique()) == 6 * 4000


def test_small_views_of_one_crop_share_a_number():
    keys = ViewLaw(2, 4, 8, same_crop=True).keys(IMAGES, seed=0)
    assert len(keys.unique()) == 3 * 4000
    assert torch.equal(keys[:, 2:], keys[:, 2:3].expand(-1, 4))


def test_draws_are_functions_of_seed_epoch_and_image():
    law = ViewLaw(2, 4, 8)
    turns = law.turns(IMAGES, seed=0, epoch=0)
    assert torch.equal(law.turns(IMAGES[70:90], seed=0, epoch=0), turns[70:90])
    assert not torch.equal(law.turns(IMAGES, seed=0, epoch=1), turns)
    assert not torch.equal(law.turns(IMAGES, seed=1, epoch=0), turns)
    assert torch.equal(law.keys(IMAGES[70:90], seed=0), law.keys(IMAGES, seed=0)[70:90])
