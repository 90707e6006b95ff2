"""Which images an epoch shows, and in what order, as pure functions of (seed, epoch).

Shapes: N images; C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from quarterturn.losses.weights import effective_number_weights
from quarterturn.randomness import permutation, uniforms


def epoch_order(num_images: int, seed: int, epoch: int, draws: int | None = None) -> Tensor:
    """(draws,) int64: every image equally often, give or take one, in random order.

    A draw is a number of its own, image + N * (times that the image was drawn before in this
    epoch), as in `resampled_order`: with N draws, the default, it is the image. Which images are
    drawn once more than the others, or once at all where there are fewer draws than images, is
    drawn for each epoch.
    """
    draws = num_images if draws is None else draws
    rest = draws % num_images
    rounds = torch.arange(draws - rest)
    odd = len(rounds) + permutation(num_images, seed, "odd draws", epoch)[:rest]
    return torch.cat([rounds, odd])[permutation(draws, seed, "order", epoch)]


def resampled_order(chances: Tensor, seed: int, epoch: int) -> Tensor:
    """N draws with replacement, in random order.

    A draw is a number of its own: image + N * (times that the image was drawn before in this
    epoch). ``draw % N`` is the image; the crop is drawn for the whole number, so that an image is
    not shown the same way twice in an epoch.

    Args:
        chances: (N,) how likely each image is to be drawn, of any sum.
        seed: The run's seed.
        epoch: Each epoch draws anew.

    Returns:
        (N,) int64 draws.
    """
    num_images = len(chances)
    ends = chances.double().cumsum(dim=0)
    places = uniforms(seed, "resampling", epoch, torch.arange(num_images)) * ends[-1]
    # Rounding may put a place at the end of the last interval, which is beyond it.
    images = torch.searchsorted(ends, places, right=True).clamp(max=num_images - 1)
    by_image, order = images.sort(stable=True)
    first = torch.searchsorted(by_image, by_image)  # where the draws of the same image begin
    times_before = torch.empty_like(images)
    times_before[order] = torch.arange(num_images) - first
    return images + num_images * times_before


def image_chances(
    labels: Tensor,
    class_counts: Tensor,
    rule: Literal["balanced", "effective-number"],
    beta: float = 0.9999,
) -> Tensor:
    """How likely each image is to be drawn, so that rare classes are drawn more often.

    ``balanced`` draws all classes equally often; ``effective-number`` weighs an image by the
    effective number of its class (Cui et al., CVPR 2019), as the LDAM-DRW repository resamples.

    Args:
        labels: (N,) int64 classes.
        class_counts: (C,) images of each class.
        rule: One of the two.
        beta: Of the effective number.

    Returns:
        (N,), to be drawn by in proportion.
    """
    if rule == "balanced":
        weights = 1 / class_counts
    else:
        weights = effective_number_weights(class_counts, beta, leave_out_empty=True)
    return weights[labels]
