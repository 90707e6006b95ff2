"""Boxes and the offsets between them, as Fast R-CNN has them.

Shapes: n boxes (x1, y1, x2, y2) in pixels counted from 0, corners included. Offsets are (dx, dy,
dw, dh): how far the centre of another box is, in widths and heights of the first, and the
logarithms of how many times as wide and high it is (Girshick et al., CVPR 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-14
"""Added to widths and heights, as the original does: a box of one pixel has no extent."""


def offsets_between(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, 4) offsets from each of n boxes to the other of its number."""
    (widths, heights, x, y), (other_widths, other_heights, other_x, other_y) = (
        _extents(each) for each in (boxes, others)
    )
    return torch.stack(
        [
            (other_x - x) / widths,
            (other_y - y) / heights,
            (other_widths / widths).log(),
            (other_heights / heights).log(),
        ],
        dim=1,
    )


def moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """The boxes that offsets lead to.

    Args:
        boxes: (n, 4).
        offsets: (n, C, 4): several for each box.

    Returns:
        (n, C, 4).
    """
    widths, heights, x, y = (value[:, None] for value in _extents(boxes))
    dx, dy, dw, dh = offsets.unbind(dim=2)
    half_widths, half_heights = dw.exp() * widths / 2, dh.exp() * heights / 2
    x, y = x + dx * widths, y + dy * heights
    return torch.stack(
        [x - half_widths, y - half_heights, x + half_widths, y + half_heights], dim=2
    )


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """(..., 4) boxes cut at the edges of an image."""
    last = torch.tensor([width - 1, height - 1, width - 1, height - 1], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(last.to(boxes.device))


def mirrored(boxes: Tensor, width: int) -> Tensor:
    """(n, 4) boxes in the image mirrored left to right."""
    left, top, right, bottom = boxes.unbind(dim=1)
    return torch.stack([width - 1 - right, top, width - 1 - left, bottom], dim=1)


def _extents(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Widths, heights, and centres."""
    left, top, right, bottom = boxes.unbind(dim=1)
    widths, heights = right - left + TINY, bottom - top + TINY
    return widths, heights, left + widths / 2, top + heights / 2
