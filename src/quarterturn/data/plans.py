"""What is done to the images of one batch, in numbers only.

The main process draws a `BatchPlan`; a worker, or the device, carries it out. A plan has n images
and a `ViewPlan` for each size of views, which has k rows for each image: row i * k + j is view j of
image ``images[i]``. An image is decoded once for all of its views, and all views of a size are
drawn and cropped at once.

To add views of another size, append a `ViewPlan` with its own side and its own draws; to add an
operation, such as colour, give `ViewPlan` a field of arrays with n * k rows, and apply it where
`quarterturn.data.file_loader` and `quarterturn.data.batches` apply the crops. Random numbers are
drawn by whoever builds the plan, as functions of (seed, epoch, draw, view), and never in a worker.

Shapes: n images; k views of a size of each; S their side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.crop_plans import CropPlan


@dataclass(frozen=True)
class ViewPlan:
    """The views of one size of each of n images.

    Attributes:
        side: S.
        crops: n * k crops, which are resized to S pixels per side.
        count: k.
    """

    side: int
    crops: CropPlan
    count: int = 1

    def rows(self, number: int) -> range:
        """The rows of the views of the plan's image ``number``."""
        return range(number * self.count, (number + 1) * self.count)


@dataclass(frozen=True)
class BatchPlan:
    """A batch that is to be made.

    Attributes:
        images: (n,) int64, the images' numbers in the data set.
        views: The views of each image, by their sizes; at least one.
    """

    images: NDArray[np.int64]
    views: tuple[ViewPlan, ...]
