"""What ``quarterturn detect`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from quarterturn.config.options import Flag
from quarterturn.config.shared import LabelledTrainingOptions

SELECTIVE_SEARCH = "selective-search"


@dataclass(frozen=True, kw_only=True)
class DetectOptions(LabelledTrainingOptions):
    """Learn to find objects in images that have boxes, from a run's backbone or from scratch."""

    groups: ClassVar[tuple[str, ...]] = (
        "data",
        "model",
        "method",
        "run",
        "optimizer",
        "machine",
    )

    proposals: Annotated[str | None, Flag(metavar="FILE|selective-search", common=True)] = None
    """Regions that fast-rcnn classifies: a .npz file of both splits, such as RUN/proposals.npz; a
    .mat file of the training images, as Fast R-CNN's authors released them; or selective-search
    (extra: detection), which makes them."""
    test_proposals: Annotated[Path | None, Flag(metavar="FILE")] = None
    """With --proposals of a .mat file: that of the test images."""
