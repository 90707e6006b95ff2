"""Logits of a rotation network for several views of each image.

Shapes: n images; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ImageSet
from quarterturn.data.views import View
from quarterturn.methods.base import Network
from quarterturn.progress import stage

BATCH_SIZE = 64
"""Images per batch; each is four copies."""
IN_THE_MIRROR = [0, 3, 2, 1]
"""Quarter turns as seen in a mirror, where a turn to the left becomes one to the right."""


@torch.no_grad()
def view_logits(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    views: list[View],
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[int, str] | None = None,
) -> tuple[NDArray[np.int64], Tensor]:
    """Run a rotation network over the four copies of each view, in eval mode.

    Logits of mirrored views are reordered to refer to the image itself, so that views can be
    averaged: copy -k of the mirrored image is copy k in the mirror, where turn -t looks like t.

    Args:
        network: A network with a rotation head; its mode is restored afterwards.
        images: The images.
        crop: Crop and normalisation settings.
        views: See `quarterturn.data.views.list_views`.
        device: The network's device.
        workers: Processes that decode files.
        failed: Filled with the images that cannot be decoded, which are left out.

    Returns:
        (n,) numbers of the images that could be read, and (n, V, 4, 4) float32 logits on the CPU.
    """
    was_training = network.training
    network.eval()
    by_view, numbers = [], []
    num_passes = len(images) * len(views)
    with stage("image views", total=num_passes, weight=num_passes) as bar:
        for view in views:
            seen, logits = [], [torch.empty(0, 4, 4)]
            for batch in evaluation_batches(
                images,
                crop,
                batch_size=BATCH_SIZE,
                device=device,
                workers=workers,
                failed=failed,
                view=view.crops,
            ):
                features = network.features_of_turns(batch.images)
                logits.append(network.rotation_logits(features).float().cpu())
                seen.append(batch.indices.cpu().numpy())
                bar.advance(len(batch))
            of_view = torch.cat(logits)
            if view.mirrored:
                of_view = of_view[:, IN_THE_MIRROR][:, :, IN_THE_MIRROR]
            by_view.append(of_view)
            numbers.append(np.concatenate([np.empty(0, dtype=np.int64), *seen]))
    network.train(was_training)
    # A file that was readable for one view may be gone for the next.
    in_all = reduce(np.intersect1d, numbers)
    rows = [np.isin(of_view, in_all) for of_view in numbers]
    return in_all, torch.stack([v[r] for v, r in zip(by_view, rows, strict=True)], dim=1)
