"""Features of every image of a set, once, without gradients.

Shapes: n images; D feature width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.data.batches import evaluation_batches
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import check_bad_fraction, list_of_bad
from quarterturn.errors import DataError
from quarterturn.randomness import integers
from quarterturn.rotation import rotate_each


@dataclass(frozen=True)
class Features:
    """Features of the images that could be read.

    Attributes:
        values: (n, D) float32, or (n, ...) for a layer.
        indices: (n,) numbers of the images.
        labels: (n,) classes, or None.
    """

    values: NDArray[np.float32]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64] | None

    def of(self, chosen: NDArray[np.int64]) -> Features:
        """The features of some images, by number; those that could not be read are left out."""
        rows = np.flatnonzero(np.isin(self.indices, chosen))
        labels = None if self.labels is None else self.labels[rows]
        return Features(self.values[rows], self.indices[rows], labels)


@torch.no_grad()
def extract(
    images: ImageSet,
    crop: DataConfig,
    model: Callable[[Tensor], Tensor],
    *,
    turns: Tensor | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch_size: int = 256,
    failed: dict[int, str] | None = None,
) -> Features:
    """Run a model over the centre crops of a set.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        model: (B, 3, S, S) to (B, ...); a module is put in eval mode meanwhile.
        turns: (N,) quarter turns, one for each image; upright without.
        device: Where the model is.
        workers: Processes that decode files.
        batch_size: Images at a time.
        failed: Filled with the images that cannot be decoded, which are left out.

    Raises:
        DataError: Not one image could be decoded; or, where nobody asks for those that failed,
            more than ``crop.max_bad_fraction`` of them.
    """
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    values, indices, labels = [], [], []
    limit = crop.max_bad_fraction if failed is None else 1.0
    failed = {} if failed is None else failed
    try:
        for batch in evaluation_batches(
            images, crop, batch_size=batch_size, device=device, workers=workers, failed=failed
        ):
            views = batch.images
            if turns is not None:
                views = rotate_each(views, turns.to(views.device)[batch.indices])
            values.append(model(views).float().cpu())
            indices.append(batch.indices.cpu())
            if batch.labels is not None:
                labels.append(batch.labels.cpu())
    finally:
        if was_training and isinstance(model, nn.Module):
            model.train()
    bad = {images.names[i]: reason for i, reason in failed.items()}
    check_bad_fraction(bad, len(images) - len(bad), limit)
    if not values:
        raise DataError("none of the images can be decoded:\n" + "\n".join(list_of_bad(bad)))
    return Features(
        torch.cat(values).numpy(),
        torch.cat(indices).numpy(),
        torch.cat(labels).numpy() if labels else None,
    )


def random_turns(num_images: int, seed: int) -> Tensor:
    """(N,) quarter turns uniform in 0..3, fixed by the seed and each image's number."""
    return integers(4, seed, "turned test images", torch.arange(num_images))
