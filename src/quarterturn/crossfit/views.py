"""What a rotation network says of images seen through several crops.

Shapes: n images; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.batches import evaluation_batches
from quarterturn.data.crops import Crops, placed_crops
from quarterturn.data.imageset import ImageSet
from quarterturn.methods.base import Network

CORNER_CROP = 0.875
"""Side of the crops in the corners, as a fraction of an image's short side, at most."""
BATCH = 64
"""Images at a time; each is four copies."""
IN_THE_MIRROR = [0, 3, 2, 1]
"""Quarter turns as a mirror shows them: what is turned to the left looks turned to the right."""


@dataclass(frozen=True)
class View:
    """One way to show an image.

    Attributes:
        place: ``centre`` or a corner.
        mirrored: Left to right.
        crops: (n, 2) sizes to the crops.
    """

    place: str
    mirrored: bool
    crops: Callable[[Tensor], Crops]


def list_views(crop: DataConfig, num_crops: int) -> list[View]:
    """The centre crop, then the mirrored one where the training mirrors, then the corners'.

    Args:
        crop: Crop settings of the training.
        num_crops: 1 for the centre, 5 for the corners as well (Krizhevsky et al., NeurIPS 2012).
    """
    places = {"centre": (crop.eval_crop, 0.5, 0.5)}
    if num_crops == 5:
        side = min(crop.eval_crop, CORNER_CROP)
        for vertical, down in (("top", 0.0), ("bottom", 1.0)):
            for horizontal, right in (("left", 0.0), ("right", 1.0)):
                places[f"{vertical} {horizontal}"] = (side, down, right)
    return [
        View(
            place, mirrored,
            partial(placed_crops, fraction=side, down=down, right=right, flip=mirrored),
        )
        for place, (side, down, right) in places.items()
        for mirrored in ((False, True) if crop.flip else (False,))
    ]  # fmt: skip


@torch.no_grad()
def look(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    views: list[View],
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[int, str] | None = None,
) -> tuple[NDArray[np.int64], Tensor]:
    """Run a rotation network over the four copies of every view, in eval mode.

    What is said of a mirrored view is told of the image itself, so that views can be averaged: the
    mirrored copy -k is copy k in the mirror, where -t looks like t.

    Args:
        network: A network with a rotation head; its mode is put back afterwards.
        images: The images.
        crop: Crop and normalisation settings.
        views: See `list_views`.
        device: Where the network is.
        workers: Processes that decode files.
        failed: Filled with the images that cannot be decoded, which are left out.

    Returns:
        (n,) numbers of the images that could be read, and (n, V, 4, 4) float32 logits on the CPU.
    """
    was_training = network.training
    network.eval()
    by_view, numbers = [], []
    for view in views:
        seen, logits = [], [torch.empty(0, 4, 4)]
        for batch in evaluation_batches(
            images, crop,
            batch_size=BATCH, device=device, workers=workers, failed=failed, view=view.crops,
        ):  # fmt: skip
            features = network.features_of_turns(batch.images)
            logits.append(network.rotation_logits(features).float().cpu())
            seen.append(batch.indices.cpu().numpy())
        of_view = torch.cat(logits)
        if view.mirrored:
            of_view = of_view[:, IN_THE_MIRROR][:, :, IN_THE_MIRROR]
        by_view.append(of_view)
        numbers.append(np.concatenate([np.empty(0, dtype=np.int64), *seen]))
    network.train(was_training)
    # A file that could be read for one view may be gone at the next.
    in_all = reduce(np.intersect1d, numbers)
    rows = [np.isin(of_view, in_all) for of_view in numbers]
    return in_all, torch.stack([v[r] for v, r in zip(by_view, rows, strict=True)], dim=1)
