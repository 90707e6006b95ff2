"""Which pictures the page shows, and what the network says of them.

Shapes: n images that were looked at, each in R = 4 copies; D feature width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.errors import DataError
from quarterturn.features.extraction import extract
from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.features.pictures import Picture, thumbnail, turn_picture
from quarterturn.methods.base import Network
from quarterturn.randomness import integers, permutation


@dataclass(frozen=True)
class FourTurns:
    """An image in its four copies, and what the rotation head says of each.

    Attributes:
        picture: The image.
        copies: Copy k is turned by k quarter turns counter-clockwise.
        probabilities: (4, 4), copy by predicted turn; each row sums to 1.
    """

    picture: Picture
    copies: list[Image.Image]
    probabilities: list[list[float]]

    @property
    def certainty(self) -> float:
        """Mean probability of the true turn over the four copies."""
        return float(np.trace(self.probabilities)) / 4

    @property
    def looks_turned(self) -> int:
        """Quarter turns by which the network takes the image, as it is stored, to be turned."""
        table = np.array(self.probabilities)
        copies = np.arange(4)
        return int(np.argmax([table[copies, (copies + k) % 4].mean() for k in range(4)]))


@dataclass(frozen=True)
class Neighbor:
    """An upright image near a query; ``is_query`` where it is the query's own upright view."""

    picture: Picture
    cosine: float
    is_query: bool


@dataclass(frozen=True)
class Neighbors:
    """A turned image, and the upright images nearest to it.

    Attributes:
        query: The image.
        turn: Quarter turns counter-clockwise, 1 to 3.
        turned: The image as it was shown to the network.
        by_part: Part of the features to the nearest images by it, nearest first.
        own_place: Part to the place, from 1, of the query's own upright view among all.
    """

    query: Picture
    turn: int
    turned: Image.Image
    by_part: dict[str, list[Neighbor]]
    own_place: dict[str, int]


@dataclass(frozen=True)
class Views:
    """Features of all four copies of the images that could be read.

    Attributes:
        images: The images that were looked at.
        crop: Crop and normalisation settings.
        indices: (n,) numbers in ``images``.
        parts: Name to (n, 4, d), of length 1; the halves where there are halves, else the whole.
        probabilities: (n, 4, 4), copy by predicted turn; None without a rotation head.
    """

    images: ImageSet
    crop: DataConfig
    indices: NDArray[np.int64]
    parts: dict[str, Tensor]
    probabilities: Tensor | None

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, position: int) -> Picture:
        """The image at one of the n positions."""
        index = int(self.indices[position])
        return Picture(index, self.images.names[index], thumbnail(self.images, index, self.crop))

    def four_turns(self, position: int) -> FourTurns:
        """What the rotation head says of the image at one of the n positions."""
        assert self.probabilities is not None
        picture = self.picture(position)
        return FourTurns(
            picture,
            [turn_picture(picture.image, k) for k in range(4)],
            self.probabilities[position].tolist(),
        )


@dataclass(frozen=True)
class Gallery:
    """Everything the page shows in pictures; see the functions of the same names."""

    num_images: int
    four_turns: list[FourTurns]
    neighbors: list[Neighbors]
    surest: list[FourTurns]
    least_sure: list[FourTurns]


def build_gallery(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    *,
    seed: int = 0,
    most: int = 1000,
    workers: int = 0,
) -> Gallery | None:
    """All pictures of the page, from one pass over the images.

    Returns:
        None where no image could be read.
    """
    try:
        views = look(network, images, crop, seed=seed, most=most, workers=workers)
    except DataError:  # the files are gone; a finished training is to have its page all the same
        return None
    return Gallery(
        len(views),
        four_turns(views, seed=seed),
        neighbors(views, seed=seed),
        surest(views),
        least_sure(views),
    )


@torch.no_grad()
def look(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    *,
    seed: int = 0,
    most: int = 1000,
    workers: int = 0,
) -> Views:
    """Run the network over the four copies of the images.

    Args:
        network: Backbone and heads, on any device; its mode is put back afterwards.
        images: Where there are more than ``most``, that many are drawn by the seed.
        crop: Crop and normalisation settings.
        seed: Fixes the draw.
        most: Images to look at.
        workers: Processes that decode files.
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
    return Views(images, crop, found.indices, parts, probabilities)


def four_turns(views: Views, *, num: int = 3, seed: int = 0) -> list[FourTurns]:
    """A few images, drawn by the seed, in four turns; none without a rotation head."""
    if views.probabilities is None:
        return []
    drawn = permutation(len(views), seed, "gallery-turns")[:num]
    return [views.four_turns(position) for position in drawn.tolist()]


def surest(views: Views, *, num: int = 8) -> list[FourTurns]:
    """The images whose turn the network tells most surely, surest first."""
    return _by_certainty(views, num, descending=True)


def least_sure(views: Views, *, num: int = 8) -> list[FourTurns]:
    """The images whose true turn gets the least probability, least first."""
    return _by_certainty(views, num, descending=False)


def _by_certainty(views: Views, num: int, *, descending: bool) -> list[FourTurns]:
    if views.probabilities is None:
        return []
    certainty = views.probabilities.diagonal(dim1=1, dim2=2).mean(dim=1)
    order = certainty.argsort(descending=descending, stable=True)
    # In a small set no image is to be among the surest and the least sure.
    return [views.four_turns(i) for i in order[: min(num, len(views) // 2)].tolist()]


def neighbors(
    views: Views, *, num_queries: int = 4, num_neighbors: int = 5, seed: int = 0
) -> list[Neighbors]:
    """The upright images nearest by cosine to a few turned ones.

    Args:
        views: Features of all images; every upright one is searched, the query's own included.
        num_queries: Images that are drawn by the seed.
        num_neighbors: Nearest images for each part of the features.
        seed: Fixes queries and turns. A query is turned by 1, 2 or 3 quarter turns, never by 0.
    """
    queries = permutation(len(views), seed, "gallery-queries")[:num_queries]
    turns = 1 + integers(3, seed, "gallery-query-turns", queries)
    nearest = {  # all images in order, since the query's own place among them is wanted
        name: find_nearest(part[:, 0].numpy(), part[queries, turns].numpy(), len(views))
        for name, part in views.parts.items()
    }
    found = []
    for number, (position, turn) in enumerate(zip(queries.tolist(), turns.tolist(), strict=True)):
        query = views.picture(position)
        by_part, own_place = {}, {}
        for name, part in nearest.items():
            rows, cosines = part.rows[number].tolist(), part.cosines[number].tolist()
            by_part[name] = [
                Neighbor(views.picture(row), cosine, row == position)
                for row, cosine in list(zip(rows, cosines, strict=True))[:num_neighbors]
            ]
            own_place[name] = 1 + rows.index(position)
        found.append(Neighbors(query, turn, turn_picture(query.image, turn), by_part, own_place))
    return found
