"""Which pictures the page shows, and what the network says of them.

Shapes: n images that were looked at, each in R = 4 copies; D feature width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.errors import DataError
from quarterturn.features.extraction import extract
from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.features.pictures import thumbnail
from quarterturn.methods.base import Network
from quarterturn.randomness import integers, permutation
from quarterturn.runs import Run
from quarterturn.runs.pictures import (
    FourTurns,
    Gallery,
    Neighbor,
    Neighbors,
    PartNeighbors,
    Picture,
    PictureFolder,
    write_pictures,
)

NAME = "gallery"
"""Of the record in ``RUN/pictures``."""
CLEARLY = 0.5
"""Mean probability of one turn from which the network is said to take an image to be turned."""


@dataclass(frozen=True)
class CopyFeatures:
    """Features of all four copies of the images that could be read.

    Attributes:
        images: The images that were looked at.
        crop: Crop and normalisation settings.
        indices: (n,) numbers in ``images``.
        parts: Name to (n, 4, d), of length 1; the halves where there are halves, else the whole.
        probabilities: (n, 4, 4), copy by predicted turn; None without a rotation head.
        pictures: Where thumbnails are stored.
    """

    images: ImageSet
    crop: DataConfig
    indices: NDArray[np.int64]
    parts: dict[str, Tensor]
    probabilities: Tensor | None
    pictures: PictureFolder

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, position: int) -> Picture:
        """The image at one of the n positions."""
        index = int(self.indices[position])
        small = thumbnail(self.images, index, self.crop)
        return self.pictures.add(index, self.images.names[index], small)

    def four_turns(self, position: int) -> FourTurns:
        """What the rotation head says of the image at one of the n positions."""
        assert self.probabilities is not None
        rows = self.probabilities[position].tolist()
        return FourTurns(self.picture(position), tuple(map(tuple, rows)))


def save_gallery(
    run: Run, network: Network, images: ImageSet, *, most: int = 1000
) -> Gallery | None:
    """Choose the pictures of a run's page, from one pass over the images, and store them.

    Args:
        run: The run; its seed fixes what is drawn.
        network: Backbone and heads, on any device.
        images: Images to show, held out where there are any.
        most: Images to look at.

    Returns:
        What is stored in ``RUN/pictures``; None where no image could be read.
    """
    config = run.config
    try:
        copies = copy_features(
            network,
            images,
            config.data,
            PictureFolder(run.path, NAME),
            seed=config.run.seed,
            most=most,
            workers=config.machine.num_workers,
        )
    except DataError:  # the files are gone
        return None
    gallery = Gallery(
        num_images=len(copies),
        four_turns=four_turns(copies, seed=config.run.seed),
        surest=surest(copies),
        least_sure=least_sure(copies),
        look_turned=look_turned(copies),
        neighbors=neighbors(copies, seed=config.run.seed),
    )
    write_pictures(run.path, NAME, gallery)
    return gallery


@torch.no_grad()
def copy_features(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    pictures: PictureFolder,
    *,
    seed: int = 0,
    most: int = 1000,
    workers: int = 0,
) -> CopyFeatures:
    """Run the network over the four copies of the images.

    Args:
        network: Backbone and heads, on any device; its mode is put back afterwards.
        images: Where there are more than ``most``, that many are drawn by the seed.
        crop: Crop and normalisation settings.
        pictures: Where thumbnails are stored.
        seed: Fixes the draw.
        most: Images to look at.
        workers: Processes that decode files.

    Raises:
        DataError: No image could be read.
    """
    if len(images) > most:
        drawn = permutation(len(images), seed, "gallery")[:most].sort().values
        images = images.subset(drawn.numpy())

    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    found = extract(
        images,
        crop,
        network.features_of_turns,
        device=device,
        workers=workers,
        batch_size=64,
        failed={},
    )
    features = torch.from_numpy(found.values).to(device)  # (n, 4, D)
    probabilities = None
    if network.rotation_head is not None:
        probabilities = network.rotation_logits(features).cpu().double().softmax(dim=-1)
    network.train(was_training)
    parts = {
        name: F.normalize(part, dim=-1).cpu()
        for name, part in network.parts(features).items()
        if name != "both"  # the halves say more than their union
    }
    return CopyFeatures(images, crop, found.indices, parts, probabilities, pictures)


def four_turns(copies: CopyFeatures, *, num: int = 3, seed: int = 0) -> tuple[FourTurns, ...]:
    """A few images, drawn by the seed, in four turns; none without a rotation head."""
    if copies.probabilities is None:
        return ()
    drawn = permutation(len(copies), seed, "gallery-turns")[:num]
    return tuple(copies.four_turns(position) for position in drawn.tolist())


def surest(copies: CopyFeatures, *, num: int = 8) -> tuple[FourTurns, ...]:
    """The images whose rotation is predicted most surely, surest first."""
    return _by_certainty(copies, num, descending=True)


def least_sure(copies: CopyFeatures, *, num: int = 8) -> tuple[FourTurns, ...]:
    """The images whose true turn gets the least probability, least first."""
    return _by_certainty(copies, num, descending=False)


def _by_certainty(copies: CopyFeatures, num: int, *, descending: bool) -> tuple[FourTurns, ...]:
    if copies.probabilities is None:
        return ()
    certainty = copies.probabilities.diagonal(dim1=1, dim2=2).mean(dim=1)
    order = certainty.argsort(descending=descending, stable=True)
    # In a small set no image is to be among the surest and the least sure.
    return tuple(copies.four_turns(i) for i in order[: min(num, len(copies) // 2)].tolist())


def look_turned(copies: CopyFeatures, *, num: int = 8) -> tuple[FourTurns, ...]:
    """The images that the network takes to be stored turned, all copies agreeing, surest first."""
    if copies.probabilities is None:
        return ()
    turns = torch.arange(4)
    agreement = torch.stack(  # (n, 4): were the stored image turned by so much already
        [copies.probabilities[:, turns, (turns + k) % 4].mean(dim=1) for k in range(4)], dim=1
    )
    sureness, turn = agreement.max(dim=1)
    turned = ((turn > 0) & (sureness > CLEARLY)).nonzero()[:, 0]
    order = turned[sureness[turned].argsort(descending=True, stable=True)]
    return tuple(copies.four_turns(i) for i in order[:num].tolist())


def neighbors(
    copies: CopyFeatures, *, num_queries: int = 4, num_neighbors: int = 5, seed: int = 0
) -> tuple[Neighbors, ...]:
    """The upright images nearest by cosine to a few turned ones.

    Args:
        copies: Features of all images; every upright one is searched, the query's own included.
        num_queries: Images that are drawn by the seed.
        num_neighbors: Nearest images for each part of the features.
        seed: Fixes queries and turns. A query is turned by 1, 2 or 3 quarter turns, never by 0.
    """
    queries = permutation(len(copies), seed, "gallery-queries")[:num_queries]
    turns = 1 + integers(3, seed, "gallery-query-turns", queries)
    nearest_by_part = {  # all images in order, since the query's own place among them is wanted
        name: find_nearest(part[:, 0].numpy(), part[queries, turns].numpy(), len(copies))
        for name, part in copies.parts.items()
    }
    found = []
    for number, (position, turn) in enumerate(zip(queries.tolist(), turns.tolist(), strict=True)):
        parts = []
        for name, nearest in nearest_by_part.items():
            rows, cosines = nearest.rows[number].tolist(), nearest.cosines[number].tolist()
            shown = tuple(
                Neighbor(copies.picture(row), cosine, row == position)
                for row, cosine in list(zip(rows, cosines, strict=True))[:num_neighbors]
            )
            parts.append(PartNeighbors(name, shown, own_place=1 + rows.index(position)))
        found.append(Neighbors(copies.picture(position), turn, tuple(parts)))
    return tuple(found)
