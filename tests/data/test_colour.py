"""Shapes: n = 12 images of 20 x 20 pixels."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from quarterturn.data.colour import (
    CACHED,
    ColourLaw,
    Colours,
    apply_colours,
    blurred,
    brightened,
    contrasted,
    draw_colours,
    grey_values,
    saturated,
    with_hue_shifted,
)

GREY_LEVEL = 1 / 255
LAW = ColourLaw(0.8, 0.4, 0.3, 0.2, 0.1, grey=0.2, blur=0.5)
KEYS = torch.arange(20_000)


@pytest.fixture
def images():
    """Noise, and the borders of the colour space: black, white, one grey, pure colours."""
    found = torch.rand(12, 3, 20, 20)
    found[0], found[1], found[2] = 0, 1, 0.5
    found[3] = torch.eye(3)[torch.randint(3, (20, 20))].permute(2, 0, 1)
    found[4] = 1 - found[3]
    return found


def assert_close(found, images, operation, values):
    expected = torch.stack(
        [operation(image, float(v)) for image, v in zip(images, values, strict=True)]
    )
    assert (found - expected).abs().max() < GREY_LEVEL / 100


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brightened, reference.adjust_brightness),
        (contrasted, reference.adjust_contrast),
        (saturated, reference.adjust_saturation),
    ],
)
def test_factors_are_torchvisions(images, ours, theirs):
    factors = torch.cat([torch.tensor([0.0, 1.0]), 2 * torch.rand(10)])
    assert_close(ours(images, factors), images, theirs, factors)


def test_hue_is_torchvisions(images):
    shifts = torch.cat([torch.tensor([-0.5, 0.5, 0.0]), torch.rand(9) - 0.5])
    assert_close(with_hue_shifted(images, shifts), images, reference.adjust_hue, shifts)


def test_grey_is_torchvisions(images):
    expected = reference.rgb_to_grayscale(images, num_output_channels=1)
    assert (grey_values(images) - expected).abs().max() < GREY_LEVEL / 100


@pytest.mark.parametrize("side", [20, 64])
def test_blur_is_torchvisions(side):
    images, sigmas = torch.rand(4, 3, side, side), torch.tensor([0.1, 0.5, 1.3, 2.0])
    width = {20: 3, 64: 7}[side]
    assert_close(
        blurred(images, sigmas),
        images,
        lambda image, sigma: reference.gaussian_blur(image, [width, width], [sigma, sigma]),
        sigmas,
    )


def test_each_view_has_its_own_order_and_parameters(images):
    colours = draw_colours(
        torch.arange(12), ColourLaw(0.7, 0.9, 0.9, 0.9, 0.5, 0.3), seed=1, epoch=2
    )
    assert 0 < colours.jittered.sum() < 12
    assert 0 < colours.grey.sum() < 12
    theirs = [
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    ]
    expected = []
    for i, image in enumerate(images):
        if colours.jittered[i]:
            for column in colours.order[i].tolist():
                image = theirs[column](image, float(colours.factors[i, column]))
        if colours.grey[i]:
            image = reference.rgb_to_grayscale(image, num_output_channels=3)
        expected.append(image)
    found = apply_colours(images.clone(), colours)
    assert (found - torch.stack(expected)).abs().max() < GREY_LEVEL / 100
    # Another order gives another picture, so the one above was not met by chance.
    other = Colours(
        colours.factors, colours.order.flip(1), colours.jittered, colours.grey, colours.sigmas
    )
    assert (apply_colours(images.clone(), other) - found).abs().max() > 10 * GREY_LEVEL


def test_blocks_of_the_cache_change_nothing(monkeypatch, images):
    colours = draw_colours(
        torch.arange(12), ColourLaw(1, 0.4, 0.4, 0.4, 0.1, 0.5, 1), seed=0, epoch=0
    )
    whole = apply_colours(images.clone(), colours)
    assert images.numel() < CACHED
    monkeypatch.setattr("quarterturn.data.colour.CACHED", 3 * 20 * 20)
    assert torch.equal(apply_colours(images.clone(), colours), whole)


def test_without_a_law_nothing_changes(images):
    colours = draw_colours(torch.arange(12), ColourLaw(), seed=0, epoch=0)
    assert torch.equal(apply_colours(images.clone(), colours), images)


def test_draws_have_their_shares_and_bounds():
    drawn = draw_colours(KEYS, LAW, seed=0, epoch=0)
    shares = [drawn.jittered, drawn.grey, drawn.sigmas > 0]
    assert [float(s.float().mean()) for s in shares] == pytest.approx([0.8, 0.2, 0.5], abs=0.02)
    assert drawn.factors.amin(dim=0).tolist() == pytest.approx([0.6, 0.7, 0.8, -0.1], abs=1e-3)
    assert drawn.factors.amax(dim=0).tolist() == pytest.approx([1.4, 1.3, 1.2, 0.1], abs=1e-3)
    assert drawn.factors.mean(dim=0).tolist() == pytest.approx([1, 1, 1, 0], abs=0.01)
    assert drawn.sigmas[drawn.sigmas > 0].amin() == pytest.approx(0.1, abs=1e-3)
    assert drawn.sigmas.amax() == pytest.approx(2, abs=1e-3)
    # All 24 orders, equally often.
    numbers = (drawn.order * torch.tensor([64, 16, 4, 1])).sum(dim=1).unique(return_counts=True)[1]
    assert len(numbers) == 24
    assert numbers.min() > 0.85 * len(KEYS) / 24
    assert numbers.max() < 1.15 * len(KEYS) / 24


def test_strong_factors_stop_at_zero():
    drawn = draw_colours(KEYS, ColourLaw(1, 2.0, 2.0, 2.0, 0.5), seed=0, epoch=0)
    assert drawn.factors[:, :3].amin() >= 0
    assert drawn.factors[:, :3].amax() == pytest.approx(3, abs=1e-2)


def test_draws_depend_on_seed_epoch_and_view_alone():
    def draw(keys=KEYS[:50], seed=3, epoch=4):
        return torch.cat([draw_colours(keys, LAW, seed=seed, epoch=epoch).factors], dim=1)

    assert torch.equal(draw(), draw())
    assert torch.equal(draw(KEYS[:50].flip(0)), draw().flip(0))
    for other in (draw(seed=4), draw(epoch=5), draw(KEYS[50:100])):
        assert not torch.isclose(other, draw()).any()
