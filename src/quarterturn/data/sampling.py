"""The images of an epoch and their order, as pure functions of (seed, epoch).

Shapes: N images; C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from quarterturn.losses.weights import effective_number_weights
from quarterturn.randomness import permutation, uniforms


def epoch_order(num_images: int, seed: int, epoch: int, draws: int | None = None) -> Tensor:
    """(draws,) int64: each image equally often, give or take one, in random order.

    A draw is the number image + N * (earlier draws of that image in this epoch), as in
    `resampled_order`; with the default of N draws it is the image's number. If N does not divide
    ``draws``, the images with the extra draw are chosen at random in each epoch.
    """
    draws = num_images if draws is None else draws
    rest = draws % num_images
    rounds = torch.arange(draws - rest)
    odd = len(rounds) + permutation(num_images, seed, "odd draws", epoch)[:rest]
    return torch.cat([rounds, odd])[permutation(draws, seed, "order", epoch)]


def cyclic_order(num_images: int, seed: int, epoch: int, draws: int) -> Tensor:
    """(draws,) int64: one shuffle of the images, over and over, from epoch to epoch.

    A draw is the number image + N * (earlier draws of that image in the whole run).
    """
    places = torch.arange(epoch * draws, (epoch + 1) * draws)
    order = permutation(num_images, seed, "cyclic order")
    return order[places % num_images] + num_images * (places // num_images)


def resampled_order(chances: Tensor, seed: int, epoch: int) -> Tensor:
    """N draws with replacement, in random order.

    A draw is the number image + N * (earlier draws of that image in this epoch). ``draw % N`` is
    the image; the crop is a function of the whole number, so that no crop repeats within an epoch.

    Args:
        chances: (N,) sampling weights, of any sum.
        seed: The run's seed.
        epoch: Draws differ between epochs.

    Returns:
        (N,) int64 draws.
    """
    num_images = len(chances)
    ends = chances.double().cumsum(dim=0)
    places = uniforms(seed, "resampling", epoch, torch.arange(num_images)) * ends[-1]
    # Rounding may put a place at the very end of the last interval.
    images = torch.searchsorted(ends, places, right=True).clamp(max=num_images - 1)
    by_image, order = images.sort(stable=True)
    first = torch.searchsorted(by_image, by_image)  # where the draws of the same image start
    times_before = torch.empty_like(images)
    times_before[order] = torch.arange(num_images) - first
    return images + num_images * times_before


def image_chances(
    labels: Tensor,
    class_counts: Tensor,
    rule: Literal["balanced", "effective-number"],
    beta: float = 0.9999,
) -> Tensor:
    """Sampling weights that draw images of rare classes more often.

    ``balanced`` draws all classes equally often; ``effective-number`` weights an image by the
    inverse effective number of its class (Cui et al., CVPR 2019), like the resampling of the
    LDAM-DRW repository.

    Args:
        labels: (N,) int64 classes.
        class_counts: (C,) images of each class.
        rule: ``balanced`` or ``effective-number``.
        beta: The effective number's beta.

    Returns:
        (N,) weights, of any sum.
    """
    if rule == "balanced":
        weights = 1 / class_counts
    else:
        weights = effective_number_weights(class_counts, beta, leave_out_empty=True)
    return weights[labels]
