"""A collection by its features, in which images like others are looked up.

Shapes: m queries; d feature width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.collection.options import NeighborsOptions
from quarterturn.config import DataConfig
from quarterturn.data.file_table import FileTable, unknown_rows
from quarterturn.data.image_lookup import FoundImage
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.label_sets import words_of
from quarterturn.data.source import Source
from quarterturn.data.unreadable import check_unreadable
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features, extract_parts
from quarterturn.features.nearest_neighbors import SplitNeighbor, nearest_in_splits
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.features.run_cache import FOLDER
from quarterturn.features.run_features import features_of_run
from quarterturn.runs import Run


@dataclass(frozen=True)
class SimilarImages:
    """The features of a collection, and the network that gives those of further images.

    Attributes:
        source: The collection.
        crop: How the network sees images.
        gallery: Split to the features of its images.
        unreadable: Files that could not be read, with the reason.
        words: Which features they are.
    """

    source: Source
    crop: DataConfig
    gallery: dict[str, Features]
    unreadable: dict[str, str]
    words: str
    model: NetworkFeatures
    part: str
    device: torch.device

    @property
    def num_searched(self) -> int:
        """Images that are searched."""
        return sum(len(features.indices) for features in self.gallery.values())

    def nearest(self, queries: Sequence[FoundImage], k: int) -> list[list[SplitNeighbor]]:
        """The k images most like each query, nearest first, without the query itself."""
        places = [query.places for query in queries]
        return nearest_in_splits(self.gallery, self._features_of(queries), k, places)

    def _features_of(self, queries: Sequence[FoundImage]) -> NDArray[np.float32]:
        """(m, d) features of the queries, from the gallery if it has them."""
        found = [self._kept(query) for query in queries]
        if outside := [
            query for query, values in zip(queries, found, strict=True) if values is None
        ]:
            images = _together(outside)
            computed = extract_parts(images, self.crop, self.model, device=self.device)
            others = iter(computed[self.part].values)
            found = [next(others) if values is None else values for values in found]
        return np.stack([values for values in found if values is not None])

    def _kept(self, query: FoundImage) -> NDArray[np.float32] | None:
        for split, index in query.places:
            rows = np.flatnonzero(self.gallery[split].indices == index)
            if len(rows):
                return self.gallery[split].values[rows[0]]
        return None


def similar_images(
    run: Run, source: Source, crop: DataConfig, options: NeighborsOptions
) -> SimilarImages:
    """Extract the features of a collection, or take those that the run has kept.

    Args:
        run: Whose network looks at the images.
        source: The collection, whose splits in use are searched.
        crop: How the network sees them.
        options: Which features, and where to compute.

    Raises:
        DataError: Too many images cannot be read.
    """
    runtime = Runtime(options.device, "32-true", single=True)
    model, part = features_of_run(run, runtime.device, options.half, options.layer)
    cache = FeatureCache(run.path / FOLDER)
    gallery, unreadable = {}, dict(source.unreadable)
    for split, images in source.splits.items():
        failed: dict[int, str] = {}
        gallery[split] = cached_features(
            images,
            crop,
            model,
            cache,
            device=runtime.device,
            workers=options.num_workers,
            failed=failed,
        )[part]
        unreadable |= {source.file_of(split, images.names[i]): why for i, why in failed.items()}
    found = SimilarImages(
        source, crop, gallery, unreadable, options.layer or part, model, part, runtime.device
    )
    check_unreadable(unreadable, found.num_searched, crop.max_bad_fraction)
    return found


def label_of(images: ImageSet, index: int) -> str | None:
    """The label of an image in words; None where there are none."""
    if images.label_sets is not None:
        return words_of(images.label_sets[index], images.class_names)
    return None if images.labels is None else images.class_names[images.labels[index]]


def _together(queries: Sequence[FoundImage]) -> ImageSet:
    """Images from outside the collection, which are files, as one set."""
    if len(queries) == 1:
        return queries[0].images.subset(np.array([queries[0].index]))
    files = [query.images for query in queries if isinstance(query.images, FileImages)]
    paths = [os.path.abspath(images.path(0)) for images in files]
    table = FileTable(os.path.abspath(os.sep), paths, unknown_rows(len(paths)))
    numbers = np.arange(len(paths))
    return FileImages(Path(os.sep), table, numbers, decoding=files[0].decoding)
