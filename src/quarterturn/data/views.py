"""Test-time views of images: the centre crop, corner crops, and their mirror images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from quarterturn.config import DataConfig
from quarterturn.data.crop_plans import CropPlan, placed_crops

CORNER_CROP = 0.875
"""Largest side of corner crops, as a fraction of the image's short side."""


@dataclass(frozen=True)
class View:
    """One test-time view.

    Attributes:
        place: ``centre`` or a corner.
        mirrored: Mirrored left to right.
        crops: A number of images to their crops.
    """

    place: str
    mirrored: bool
    crops: Callable[[int], CropPlan]


def list_views(crop: DataConfig, num_crops: int) -> list[View]:
    """The centre crop, then the corner crops, each mirrored too if the training mirrors.

    Args:
        crop: Crop settings of the training.
        num_crops: 1 for the centre, 5 to add the corners (Krizhevsky et al., NeurIPS 2012).
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
            partial(
                placed_crops,
                fraction=side,
                down=down,
                right=right,
                pixels=crop.fixed_crop,
                flip=mirrored,
            ),
        )
        for place, (side, down, right) in places.items()
        for mirrored in ((False, True) if crop.flip else (False,))
    ]
