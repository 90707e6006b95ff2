"""What a collection holds, in pictures: kinds of images, rare ones, near-duplicates."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing

from quarterturn.data.imageset import ImageSet
from quarterturn.errors import DataError
from quarterturn.features.pictures import thumbnail
from quarterturn.methods.base import Network
from quarterturn.pages.figures import COLOURS, STYLE, WIDTH_INCHES, Figure, save_figure, to_png
from quarterturn.pages.images_section import CLUSTERS, COLLECTION
from quarterturn.pretraining.imbalance import ImbalancePicture, imbalance_picture
from quarterturn.runs import Run
from quarterturn.runs.pictures import (
    AlikePair,
    CollectionPictures,
    Kind,
    Picture,
    PictureFolder,
    RareImage,
    write_pictures,
)

NUM_RAREST = 8
NUM_PAIRS = 8
NUM_TYPICAL = 5
"""Images shown of each kind."""
MOST_KINDS = 20
"""Kinds shown; imbalance.csv has them all."""


def save_collection(run: Run, network: Network, images: ImageSet) -> CollectionPictures | None:
    """Find out how a run's images are spread over kinds, and store it for the page.

    Writes ``imbalance.csv``, the chart of the clusters' sizes and the record of pictures.

    Args:
        run: The run.
        network: Backbone and heads.
        images: The collection.

    Returns:
        What is stored; None where fewer than two images could be read.
    """
    config = run.config
    try:
        found = imbalance_picture(
            network,
            images,
            config.data,
            num_clusters=config.imbalance.num_clusters,
            seed=config.run.seed,
            workers=config.machine.num_workers,
        )
    except DataError:  # the files are gone
        return None
    found.write(run.path / "imbalance.csv")
    save_figure(run.figures, cluster_sizes(found))
    shown = collection_pictures(found, images, run)
    write_pictures(run.path, COLLECTION, shown)
    return shown


def collection_pictures(found: ImbalancePicture, images: ImageSet, run: Run) -> CollectionPictures:
    """Kinds, rare images and near-duplicates, with stored thumbnails of the images."""
    pictures = PictureFolder(run.path, COLLECTION)

    def picture(place: int) -> Picture:
        index = int(found.indices[place])
        return pictures.add(index, found.names[place], thumbnail(images, index, run.config.data))

    return CollectionPictures(
        num_images=len(found.names),
        of=found.of,
        kinds=tuple(
            Kind(int(size), tuple(picture(place) for place in found.typical(kind)[:NUM_TYPICAL]))
            for kind, size in enumerate(found.sizes[:MOST_KINDS])
        ),
        rarest=tuple(
            RareImage(picture(place), float(found.rarity[place]))
            for place in found.rarest()[:NUM_RAREST]
        ),
        pairs=tuple(
            AlikePair(picture(first), picture(second), float(found.cosine[first]))
            for first, second in found.pairs()[:NUM_PAIRS]
        ),
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
    summary = f"Gini {found.gini:.2f}, largest over smallest {found.head_to_tail:.1f}"
    return Figure(
        CLUSTERS,
        "How even the collection is",
        f"{summary}. A Gini of 0 is an even collection; near 1 almost all images are of one kind.",
        png,
        {"sizes": sizes.tolist(), "gini": found.gini, "head_to_tail": found.head_to_tail},
        f"{len(sizes)} clusters of {sizes[0]:,} to {sizes[-1]:,} images; {summary}",
    )
