"""Crops of images that are in memory, on their device.

Shapes: N images in the data set; S side of a crop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.crops import crop_batch
from quarterturn.data.file_loader import Decoded
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.plans import BatchPlan, ViewPlan
from quarterturn.timing import timed


def pixels_on(
    device: torch.device | str, images: ArrayImages
) -> tuple[Tensor, NDArray[np.int64] | None]:
    """The pixels of images on a device, (M, H, W, 3), and the images' rows among them.

    The rows are None for all of them, in order. In the processor's memory nothing is copied.
    """
    if torch.device(device).type == "cpu":
        return torch.from_numpy(images.array), images.rows
    return torch.from_numpy(images.pixels).to(device), None


def cropped_arrays(
    pixels: Tensor,
    rows: NDArray[np.int64] | None,
    sizes: NDArray[np.int64],
    plans: Iterable[BatchPlan],
) -> Iterator[Decoded]:
    """Make the batches of plans from images in memory, on their device.

    Args:
        pixels: (M, H, W, 3) uint8.
        rows: (N,) the images' rows in it, or None for all of them, in order.
        sizes: (N, 2) heights and widths.
        plans: The batches.

    Yields:
        Batches whose views are (n, k, 3, S, S) float32 in 0..255.
    """
    for plan in plans:
        indices = torch.from_numpy(plan.images)
        with timed("augment"):
            views = tuple(_cropped(pixels, rows, sizes, plan, view) for view in plan.views)
        yield Decoded(indices, views, {})


def _cropped(
    pixels: Tensor,
    rows: NDArray[np.int64] | None,
    sizes: NDArray[np.int64],
    plan: BatchPlan,
    view: ViewPlan,
) -> Tensor:
    """The views of one size: (n, k, 3, S, S)."""
    numbers = plan.images.repeat(view.count)  # (n * k,), the views of an image together
    places = torch.from_numpy(numbers if rows is None else rows[numbers])
    chosen = pixels[places.to(pixels.device, non_blocking=True)]
    cropped = crop_batch(chosen, view.crops.crops(sizes[numbers]), view.side)
    return cropped.view(len(plan.images), view.count, *cropped.shape[1:])
