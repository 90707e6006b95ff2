from dataclasses import replace

import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data.views import View, list_views

CROP = DataConfig(image_size=8, eval_crop=0.75)


def places(views: list[View]) -> list[tuple[str, bool]]:
    return [(view.place, view.mirrored) for view in views]


CORNERS = ("top left", "top right", "bottom left", "bottom right")


class TestList:
    @pytest.mark.parametrize("flip", [False, True])
    def test_the_centre_is_first(self, flip):
        crop = replace(CROP, flip=flip)
        both = (False, True) if flip else (False,)
        assert places(list_views(crop, 1)) == [("centre", m) for m in both]
        assert places(list_views(crop, 5)) == [(p, m) for p in ("centre", *CORNERS) for m in both]

    @pytest.mark.parametrize(("eval_crop", "corner"), [(0.5, 0.5), (0.875, 0.875), (1.0, 0.875)])
    def test_crops_are_squares_where_they_are_called(self, eval_crop, corner):
        height, width = 40, 48
        views = list_views(replace(CROP, flip=True, eval_crop=eval_crop), 5)
        centre, side = round(40 * eval_crop), round(40 * corner)
        corners = {
            "centre": ((height - centre) // 2, (width - centre) // 2, centre),
            "top left": (0, 0, side),
            "top right": (0, width - side, side),
            "bottom left": (height - side, 0, side),
            "bottom right": (height - side, width - side, side),
        }
        for view in views:
            crops = view.crops(3).crops(np.array([[height, width]] * 3))
            top, left, side = corners[view.place]
            assert crops.boxes.tolist() == [[top, left, side, side]] * 3
            assert crops.flips.tolist() == [view.mirrored] * 3
            assert crops.shifts is None
