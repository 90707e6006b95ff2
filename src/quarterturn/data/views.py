"""Ways to show a whole set of images in a test: the centre crop, the corners', the mirrored.

Shapes: n images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.crops import Crops, placed_crops

CORNER_CROP = 0.875
"""Side of the crops in the corners, as a fraction of an image's short side, at most."""


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
            place,
            mirrored,
            partial(placed_crops, fraction=side, down=down, right=right, flip=mirrored),
        )
        for place, (side, down, right) in places.items()
        for mirrored in ((False, True) if crop.flip else (False,))
    ]
