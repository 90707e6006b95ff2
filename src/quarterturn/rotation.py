"""Quarter turns of images.

Shapes: B images, R = 4 rotations, C channels, S the side of a square image.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotate4(images: Tensor) -> Tensor:
    """Turn each image by 0 to 3 quarter turns, along a new axis.

    Args:
        images: (B, C, S, S), any dtype. Square, since a quarter turn swaps height and width.

    Returns:
        (B, 4, C, S, S); ``[:, k]`` is ``torch.rot90(images, k, (-2, -1))``, k quarter turns
        counter-clockwise.

    Raises:
        ValueError: The images are not square, or the tensor is not four-dimensional.
    """
    if images.ndim != 4 or images.shape[-2] != images.shape[-1]:
        raise ValueError(f"rotate4 expects square images (B, C, S, S), found {tuple(images.shape)}")
    return torch.stack([torch.rot90(images, k, (-2, -1)) for k in range(4)], dim=1)


def rotate_each(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image by its own number of quarter turns.

    Args:
        images: (B, C, S, S).
        turns: (B,) integers, taken modulo 4, counter-clockwise.

    Returns:
        (B, C, S, S).
    """
    side = images.shape[-1]
    places = torch.arange(side * side, device=images.device).view(side, side)
    # One gather, since a selection by masks would have to wait for a GPU to count them.
    of_turns = torch.stack([torch.rot90(places, k).flatten() for k in range(4)])  # (4, S * S)
    moved = of_turns[turns % 4][:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, moved).view_as(images)
