"""Room for features, asked for before they are computed: on the disk, in a classifier's memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledData
from quarterturn.engine.runtime import free_main_memory
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import is_complete
from quarterturn.features.extraction import random_turns
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.methods.memory import gigabytes

BYTES = 4
"""Of a feature, a float32."""
COPIES = 3.5
"""Of its features that logistic regression holds in memory: our own, and 2.3 of scikit-learn's,
as measured."""
FEW_SHOT_COPIES = 10.5
"""The same of a few-shot classifier, which works in a basis of its images: 10.0, as measured."""
FEWER = "probe fewer --layers, fewer images by --limit, or averages over a smaller --grid"


def passes(split: LabelledData, seeds: Sequence[int]) -> Iterator[tuple[ImageSet, Tensor | None]]:
    """Images and their turns, for every pass that `probe_over_seeds` makes."""
    yield split.train, None
    if split.test is not None:
        yield split.test, None
    for seed in seeds:
        held = split.tests.subset(split.parts(seed)[1])
        yield held, random_turns(len(held), seed)


def bytes_to_cache(
    models: Sequence[NetworkFeatures],
    split: LabelledData,
    crop: DataConfig,
    seeds: Sequence[int],
    store: FeatureCache,
) -> int:
    """Size of the features that a probe will add to the store.

    Args:
        models: The networks' features.
        split: Labelled images.
        crop: Crop and normalisation settings.
        seeds: Of turns and held-out parts.
        store: Where features are kept; what it has already is not counted.
    """
    missing = {}
    for model in models:
        widths = dict.fromkeys(model.layers, 0)
        for part, width in model.widths(crop.image_size).items():
            widths[model.layer_of(part)] += width
        for images, turns in passes(split, seeds):
            for layer, width in widths.items():
                key = model.store_key(layer, images, crop, turns)
                if not is_complete(images, store, key):
                    missing[key] = BYTES * len(images) * width
    return sum(missing.values())


def require_disk_space(needed: int, folder: Path) -> str | None:
    """Words on the size of the features that will be kept; None where there are none to come.

    Args:
        needed: Bytes, of `bytes_to_cache`.
        folder: Where the features will be; its parent is there.

    Raises:
        ConfigError: The disk has not that much room.
    """
    if not needed:
        return None
    free = shutil.disk_usage(folder.parent).free
    words = f"features to keep in {folder}: {gigabytes(needed)}; {gigabytes(free)} are free"
    if needed > free:
        raise ConfigError(f"{words}: {FEWER}, or make room (whatever is in that folder can go)")
    return words


def require_memory(
    num_images: int, model: NetworkFeatures, crop: DataConfig, copies: float = COPIES
) -> None:
    """See that logistic regression can have its features in memory.

    Args:
        num_images: That it learns from.
        model: A network's features; the widest part counts.
        crop: Crop settings.
        copies: Of the features that it holds.

    Raises:
        ConfigError: They take more than is free.
    """
    part, width = max(model.widths(crop.image_size).items(), key=lambda item: item[1])
    needed, free = copies * BYTES * num_images * width, free_main_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"logistic regression on {num_images:,} images and {width:,} features of {part} takes "
            f"{gigabytes(needed)} of memory, and {gigabytes(free)} are free: {FEWER}, or choose "
            "--kind knn, which reads features from the disk in parts"
        )
