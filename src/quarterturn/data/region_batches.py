"""A batch of whole images of several sizes, with regions in them.

Shapes: B images; H, W height and width of the largest; n regions and g objects in an image. Boxes
are (x1, y1, x2, y2) in pixels of the resized image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor


@dataclass(frozen=True)
class RegionBatch:
    """Images that go through a detector together.

    Attributes:
        indices: (B,) int64 numbers in the data set.
        images: (B, 3, H, W) float32, normalised; padded with zeros to the right and below.
        sizes: Height and width of each within.
        regions: (n, 4) of each image; empty for a detector that makes its own.
        classes: (n,) int64, what each region shows; 0 is the background.
        offsets: (n, 4) from each region to its object, normalised.
        true_boxes: (g, 4) the objects of each image.
        true_classes: (g,) int64, from 1.
        epoch: From which they are, counted from 0.
    """

    indices: Tensor
    images: Tensor
    sizes: tuple[tuple[int, int], ...]
    regions: tuple[Tensor, ...]
    classes: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]
    true_boxes: tuple[Tensor, ...]
    true_classes: tuple[Tensor, ...]
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, parts: int) -> list[RegionBatch]:
        """Split into ``parts`` batches of nearly equal size."""
        if parts == 1:
            return [self]
        bounds = [round(len(self) * part / parts) for part in range(parts + 1)]
        return [
            RegionBatch(
                self.indices[begin:end],
                self.images[begin:end],
                self.sizes[begin:end],
                self.regions[begin:end],
                self.classes[begin:end],
                self.offsets[begin:end],
                self.true_boxes[begin:end],
                self.true_classes[begin:end],
                self.epoch,
            )
            for begin, end in pairwise(bounds)
        ]
