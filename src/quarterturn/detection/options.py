"""What ``quarterturn detect`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from quarterturn.config.options import Flag
from quarterturn.config.shared import TrainingOptions

SELECTIVE_SEARCH = "selective-search"


@dataclass(frozen=True, kw_only=True)
class DetectOptions(TrainingOptions):
    """Learn to find objects in images that have boxes, from a run's backbone or from scratch."""

    groups: ClassVar[tuple[str, ...]] = (
        "data",
        "model",
        "method",
        "run",
        "optimizer",
        "machine",
    )

    start: Annotated[str | None, Flag(name="from", metavar="RUN|FILE", common=True)] = None
    """Begin with the backbone of a run, of a file that import takes, or timm:NAME (fetched only
    with --download), and normalise images as it did; from scratch without."""
    proposals: Annotated[str | None, Flag(metavar="FILE|selective-search", common=True)] = None
    """Regions that fast-rcnn classifies: a .npz file of both splits, such as RUN/proposals.npz; a
    .mat file of the training images, as Fast R-CNN's authors released them; or selective-search
    (extra: detection), which makes them."""
    test_proposals: Annotated[Path | None, Flag(metavar="FILE")] = None
    """With --proposals of a .mat file: that of the test images."""
