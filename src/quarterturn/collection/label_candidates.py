"""The images of a collection that may be labelled, with their features, and those that are already.

Shapes: n images; D feature width.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quarterturn.collection.options import LabelOptions
from quarterturn.config import DataConfig
from quarterturn.data.class_words import label_words
from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.unreadable import check_unreadable
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.network_features import choose_part
from quarterturn.progress import stage
from quarterturn.runs import Run


@dataclass(frozen=True)
class LabelCandidates:
    """The images that may be labelled.

    Attributes:
        source: Where they are from.
        images: (n,) the training images that could be read; test images are not suggested.
        features: (n, D).
        crop: How the network sees them.
        data: DATA, as `locate` has it.
        unreadable: Files that could not be read, with the reason.
    """

    source: Source
    images: FileImages
    features: NDArray[np.float32]
    crop: DataConfig
    data: str
    unreadable: dict[str, str]

    @cached_property
    def paths(self) -> list[str]:
        """(n,) absolute paths."""
        return [str(self.images.path(index).absolute()) for index in range(len(self.images))]

    def are_among(self, identities: Collection[str]) -> NDArray[np.bool_]:
        """(n,) whether an image is one of those, whatever path leads to it."""
        if not identities:
            return np.zeros(len(self.images), bool)
        mine = (self.images.identity(index, self.data) for index in range(len(self.images)))
        return np.array([identity in identities for identity in mine])


def read_candidates(run: Run, data: str, options: LabelOptions) -> LabelCandidates:
    """Open the images, and take their features from the run's cache or compute them.

    Raises:
        DataError: They are no files of their own, or too many cannot be read.
    """
    reading = options.reading_as(run.config.data)
    crop = replace(run.config.data, **reading)
    source = open_source(data, index=run.index, min_images=2, **reading)
    source.log_summary()
    images = source.train
    if not isinstance(images, FileImages) or not images.are_files:
        raise DataError(
            f"the images of {source.name} are no files of their own, so a list of paths cannot "
            "name them: expected a folder of images, or a manifest"
        )
    runtime = Runtime(options.device, "32-true", single=True)
    model, part = choose_part(run.load_network().to(runtime.device))
    with stage("label", total=len(images)):
        found = cached_features(
            images,
            crop,
            model,
            FeatureCache(run.path / "features"),
            device=runtime.device,
            workers=options.num_workers,
        )[part]
    unreadable = source.unreadable | {
        images.names[index]: "could not be decoded"
        for index in np.setdiff1d(np.arange(len(images)), found.indices).tolist()
    }
    check_unreadable(unreadable, len(found.indices), crop.max_bad_fraction)
    features, read = np.asarray(found.values), images.subset(found.indices)
    return LabelCandidates(source, read, features, crop, locate(data), unreadable)


def labelled_in(data: str) -> dict[str, str]:
    """Identity to label in words, of the images that have one in some DATA.

    The label is empty where it is not for training, or where the image is no file of its own.
    """
    source = open_source(data, min_images=1)
    found: dict[str, str] = {}
    for split, images in source.all_splits.items():
        with_label = source.labelled.get(split, images)
        if with_label.targets is not None:
            found |= labels_of(with_label, data, are_kept=split == "train")
    return found


def labels_of(images: ImageSet, data: str, *, are_kept: bool) -> dict[str, str]:
    """Identity to label in words, of labelled images.

    Args:
        images: The images.
        data: DATA that they are from.
        are_kept: Whether their labels are wanted; else they are empty.
    """
    are_kept &= isinstance(images, FileImages) and images.are_files
    place = locate(data)
    return {
        images.identity(index, place): label_words(images, index) if are_kept else ""
        for index in range(len(images))
    }
