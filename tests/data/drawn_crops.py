"""Crops in pixels, drawn by `quarterturn.data.crop_plans` for images of given sizes."""

import torch
from torch import Tensor

from quarterturn.data import crop_plans
from quarterturn.data.crops import Crops

SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)


def draw(sizes, indices, *, seed=0, epoch=0, scale=SCALE, ratio=RATIO, flip=True) -> Crops:
    plan = crop_plans.draw_crops(
        torch.as_tensor(indices), seed=seed, epoch=epoch, scale=scale, ratio=ratio, flip=flip
    )
    return plan.crops(torch.as_tensor(sizes).numpy())


def many(height: int, width: int, n: int, **options) -> Crops:
    return draw(torch.tensor([[height, width]]).repeat(n, 1), torch.arange(n), **options)


def draw_shifts(sizes: Tensor, indices: Tensor, **options) -> Crops:
    return crop_plans.draw_shifts(indices, **options).crops(sizes.numpy())


def draw_squares(sizes: Tensor, indices: Tensor, **options) -> Crops:
    return crop_plans.draw_squares(indices, **options).crops(sizes.numpy())


def centre_crops(sizes: Tensor, fraction: float) -> Crops:
    return crop_plans.centre_crops(len(sizes), fraction).crops(sizes.numpy())


def placed_crops(sizes: Tensor, *place: float, flip: bool = False) -> Crops:
    return crop_plans.placed_crops(len(sizes), *place, flip=flip).crops(sizes.numpy())
