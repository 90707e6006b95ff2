"""What is done to the images of one batch, in numbers only.

The main process draws a `BatchPlan`; a worker, or the device, carries it out. It is laid out by
view, then by image: a plan has n images and a tuple of views, and each `ViewPlan` has n rows, row i
for image ``images[i]``. An image is decoded once for all of its views.

To add views of an image, append a `ViewPlan` with its own side and its own draws; to add an
operation, such as colour, give `ViewPlan` a field of arrays with n rows, and apply it where
`quarterturn.data.file_loader` and `quarterturn.data.batches` apply the crops. Random numbers are
drawn by whoever builds the plan, as functions of (seed, epoch, draw, view), and never in a worker.

Shapes: n images; S side of a view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.crop_plans import CropPlan


@dataclass(frozen=True)
class ViewPlan:
    """One view of each of n images.

    Attributes:
        side: S.
        crops: n crops, which are resized to S pixels per side.
    """

    side: int
    crops: CropPlan


@dataclass(frozen=True)
class BatchPlan:
    """A batch that is to be made.

    Attributes:
        images: (n,) int64, the images' numbers in the data set.
        views: The views of each image; at least one.
    """

    images: NDArray[np.int64]
    views: tuple[ViewPlan, ...]
