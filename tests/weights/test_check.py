from __future__ import annotations

import math

import pytest
import torch

from quarterturn.config import DataConfig
from quarterturn.errors import CheckpointError
from quarterturn.weights.check import Difference, Exported, clouds, differences, require_close


def test_differences_are_the_greatest() -> None:
    ours = {"a": torch.tensor([[1.0, -4.0]]), "b": torch.zeros(2)}
    theirs = {"a": torch.tensor([[1.5, -4.25]]), "b": torch.zeros(2), "more": torch.zeros(1)}
    assert differences(ours, theirs) == (Difference("a", 0.5, 0.125), Difference("b", 0.0, 0.0))
    with pytest.raises(CheckpointError, match=r"returns a of shape \(2,\); expected \(1, 2\)"):
        differences(ours, {**theirs, "a": torch.zeros(2)})


@pytest.mark.parametrize(("relative", "kept"), [(0.0, True), (1e-3, True), (1.1e-3, False)])
def test_beyond_the_tolerance(relative: float, kept: bool) -> None:
    exported = Exported(("x",), "Reader 1", (Difference("fc7", 1.0, relative),), "")
    if kept:
        require_close(exported, 1e-3)
    else:
        with pytest.raises(CheckpointError, match=r"Reader 1 .* fc7 differs by 0\.0011 of its"):
            require_close(exported, 1e-3)


def test_what_is_no_number_is_not_close() -> None:
    found = differences({"a": torch.ones(1)}, {"a": torch.tensor([math.nan])})
    with pytest.raises(CheckpointError, match="a differs by nan"):
        require_close(Exported((), "", found, ""), 1.0)


def test_clouds_are_images() -> None:
    crop = DataConfig(image_size=64)
    images = clouds(crop, 3)
    assert images.shape == (3, 3, 64, 64)
    assert torch.equal(images, clouds(crop, 3))
    std, mean = (torch.tensor(v)[:, None, None] for v in (crop.std, crop.mean))
    pixels = (images * std + mean) * 255
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    assert pixels.std(dim=(2, 3)).min() > 30
    assert (images[0] - images[1]).abs().mean() > 0.5
