"""All images of a collection in one list, held-out ones too, with what the network sees in them.

Shapes: n images that could be read, over all splits; D width of a part; T side of a thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import DataConfig
from quarterturn.copies.listed_images import ListedImages
from quarterturn.data.class_words import label_words
from quarterturn.data.source import Source
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.data.unreadable import check_unreadable
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.exploring.survey_features import (
    THUMBNAIL,
    TURN_LOGITS,
    SurveyFeatures,
    middle_part,
)
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features
from quarterturn.features.network_features import choose_part
from quarterturn.methods.base import Network
from quarterturn.progress import stage

NO_SPREAD = 1e-6
"""Mean square distance of directions from their mean, below which all images are one."""


@dataclass(frozen=True)
class Survey(ListedImages):
    """A collection, as `explore` looks at it.

    Attributes:
        part: Name of the features that say what is in an image: the invariant half, or the whole.
        features: (n, D) of that part.
        layers: Name to (n, d) of layers in the middle of the backbone, averaged over the turns.
        turn_logits: (n, 4, 4), copy by predicted turn; None without a rotation head.
        thumbnails: (n, T, T, 3) uint8.
        unreadable: Files that could not be read, with the reason.
    """

    part: str
    features: NDArray[np.float32]
    layers: Mapping[str, NDArray[np.float32]]
    turn_logits: NDArray[np.float32] | None
    thumbnails: NDArray[np.uint8]
    unreadable: dict[str, str]

    @cached_property
    def labels(self) -> list[str]:
        """(n,) labels in words; empty for an image without one."""
        every = self.source.all_splits
        return [
            label_words(every[split], index)
            for split, index in zip(self.splits, self.indices.tolist(), strict=True)
        ]


def survey(
    source: Source,
    network: Network,
    crop: DataConfig,
    cache: FeatureCache,
    runtime: Runtime,
    *,
    workers: int = 0,
) -> Survey:
    """Look at every image once, or take what the cache has of it.

    Args:
        source: The images; all of its splits are looked at.
        network: Backbone and heads, on the runtime's device.
        crop: Crop and normalisation settings.
        cache: The run's features.
        runtime: Where to compute.
        workers: Processes that decode files.

    Raises:
        DataError: Too many files cannot be read; fewer than `MIN_IMAGES` can; or they all look
            the same.
    """
    _, part = choose_part(network)
    model = SurveyFeatures(network, crop)
    found: dict[str, dict[str, Features]] = {}
    every = {split: images for split, images in source.all_splits.items() if len(images)}
    num_indexed = sum(map(len, every.values()))
    with stage("images", total=num_indexed, weight=num_indexed):
        for split, images in every.items():
            found[split] = cached_features(
                images, crop, model, cache, device=runtime.device, workers=workers
            )
    indices = {split: parts[THUMBNAIL].indices for split, parts in found.items()}
    unreadable = source.unreadable | {
        source.file_of(split, images.names[index]): "could not be decoded"
        for split, images in every.items()
        for index in np.setdiff1d(np.arange(len(images)), indices[split]).tolist()
    }
    num_images = sum(map(len, indices.values()))
    check_unreadable(unreadable, num_images, crop.max_bad_fraction)
    if num_images < MIN_IMAGES:
        raise DataError(
            f"{source.name} holds {num_images} images that can be read; at least {MIN_IMAGES} are "
            "needed to say how they lie to each other"
        )

    def joined(name: str) -> NDArray[Any]:
        arrays = [np.asarray(parts[name].values) for parts in found.values()]
        # Of one split they stay on the disk, mapped into memory.
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    thumbnails = joined(THUMBNAIL)
    side = math.isqrt(thumbnails.shape[1] // 3)
    features = joined(part)
    _refuse_equal(features, source.name)
    return Survey(
        source,
        [split for split, of_split in indices.items() for _ in of_split],
        np.concatenate(list(indices.values())),
        part,
        features,
        {name: joined(middle_part(name)) for name in model.middle},
        joined(TURN_LOGITS).reshape(-1, 4, 4) if network.rotation_head is not None else None,
        thumbnails.reshape(-1, side, side, 3),
        unreadable,
    )


def _refuse_equal(features: NDArray[np.float32], name: str) -> None:
    """Stop where all images are the same to the network.

    Raises:
        DataError: They are.
    """
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if float(((directions - directions.mean(axis=0)) ** 2).sum(axis=1).mean()) < NO_SPREAD:
        raise DataError(
            f"all {len(features):,} images of {name} look the same to the network, so there is no "
            "map of them: expected a collection of different images, or a network that has "
            "learned to tell them apart"
        )
