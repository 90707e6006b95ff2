"""The imbalance of a collection on the page: sizes of clusters, rare images, near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.features.pictures import Picture, thumbnail
from quarterturn.pages.figures import COLOURS, STYLE, WIDTH_INCHES, Figure, to_png
from quarterturn.pretraining.imbalance import ImbalancePicture

NUM_RAREST = 8
NUM_PAIRS = 8


@dataclass(frozen=True)
class RareImage:
    """An image and its rarity; see `ImbalancePicture`."""

    picture: Picture
    rarity: float


@dataclass(frozen=True)
class AlikePair:
    """An image and the one most like it, and their cosine."""

    first: Picture
    second: Picture
    cosine: float


@dataclass(frozen=True)
class ImbalanceSheet:
    """What the page shows of a collection's imbalance.

    Attributes:
        num_images: Images that were looked at.
        of: Images in the collection, those that cannot be read as well.
        figure: Sizes of the clusters.
        rarest: Rarest first.
        pairs: Most alike first.
    """

    num_images: int
    of: int
    figure: Figure
    rarest: list[RareImage]
    pairs: list[AlikePair]


def imbalance_sheet(found: ImbalancePicture, images: ImageSet, crop: DataConfig) -> ImbalanceSheet:
    """The sheet of a picture, with thumbnails of the images."""

    def picture(place: int) -> Picture:
        index = int(found.indices[place])
        return Picture(index, found.names[place], thumbnail(images, index, crop))

    return ImbalanceSheet(
        len(found.names),
        found.of,
        cluster_sizes(found),
        [RareImage(picture(i), float(found.rarity[i])) for i in found.rarest()[:NUM_RAREST]],
        [
            AlikePair(picture(a), picture(b), float(found.cosine[a]))
            for a, b in found.pairs()[:NUM_PAIRS]
        ],
    )


def cluster_sizes(found: ImbalancePicture) -> Figure:
    """Bars of the clusters' sizes, largest first."""
    sizes = found.sizes
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES, 2.4), layout="constrained")
        axes = drawing.add_subplot()
        axes.bar(np.arange(1, len(sizes) + 1), sizes, color=COLOURS["invariance"])
        axes.set_title("images")
        axes.set_xlabel("clusters, largest first")
        axes.set_xticks([1, len(sizes)])
        png = to_png(drawing)
    told = f"Gini {found.gini:.2f}, largest over smallest {found.head_to_tail:.1f}"
    return Figure(
        "clusters",
        "Sizes of the clusters",
        f"{told}. A Gini of 0 is an even collection; near 1 almost all images are of one kind. "
        "Clusters are a guess at kinds, made without labels.",
        png,
        {"sizes": sizes.tolist(), "gini": found.gini, "head_to_tail": found.head_to_tail},
        f"{len(sizes)} clusters of {sizes[0]:,} to {sizes[-1]:,} images; {told}",
    )
