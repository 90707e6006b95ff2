"""Disk and memory that features need, checked before they are computed."""

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

BYTES_PER_FEATURE = 4
COPIES = 3.5
"""Copies of its features that logistic regression holds in memory: ours, and 2.3 measured in
scikit-learn."""
FEW_SHOT_COPIES = 10.5
"""The same for a few-shot classifier, which works in a basis of its images: 10.0 measured."""
REMEDY = "probe fewer --layers, fewer images with --limit, or a smaller --grid"


def passes(split: LabelledData, seeds: Sequence[int]) -> Iterator[tuple[ImageSet, Tensor | None]]:
    """The images and turns of each pass that a probe over several seeds makes."""
    yield split.train, None
    if split.test is not None:
        yield split.test, None
    for seed in seeds:
        tests = split.tests.subset(split.parts(seed)[1])
        yield tests, random_turns(len(tests), seed)


def bytes_to_cache(
    models: Sequence[NetworkFeatures],
    split: LabelledData,
    crop: DataConfig,
    seeds: Sequence[int],
    cache: FeatureCache,
    *,
    squashed: bool = False,
) -> int:
    """Bytes that a probe will add to the feature cache.

    Args:
        models: The networks' features.
        split: Labelled images.
        crop: Crop and normalisation settings.
        seeds: Seeds of turns and held-out parts.
        cache: The cache; entries that it has are not counted.
        squashed: Show whole images, squashed, in place of centre crops.
    """
    missing = {}
    for model in models:
        widths = dict.fromkeys(model.layers, 0)
        for part, width in model.widths(crop.image_size).items():
            widths[model.layer_of(part)] += width
        for images, turns in passes(split, seeds):
            for layer, width in widths.items():
                key = model.cache_key(layer, images, crop, turns, squashed=squashed)
                if not is_complete(images, cache, key):
                    missing[key] = BYTES_PER_FEATURE * len(images) * width
    return sum(missing.values())


def require_disk_space(needed: int, folder: Path, remedy: str = REMEDY) -> str | None:
    """Check that the disk has space for features to cache.

    Args:
        needed: Bytes, from `bytes_to_cache`.
        folder: Folder of the cache, whose parent exists.
        remedy: What would make do with less, for the message.

    Returns:
        A line on their size for the user; None if nothing will be cached.

    Raises:
        ConfigError: The disk has less free space.
    """
    if not needed:
        return None
    free = shutil.disk_usage(folder.parent).free
    line = f"features to cache in {folder}: {gigabytes(needed)}; {gigabytes(free)} are free"
    if needed > free:
        raise ConfigError(
            f"{line}: {remedy}, or free some space (that folder may be deleted at any time)"
        )
    return line


def require_memory(
    num_images: int, model: NetworkFeatures, crop: DataConfig, copies: float = COPIES
) -> None:
    """Check that the features of logistic regression fit into memory.

    Args:
        num_images: Training images.
        model: A network's features; the widest part counts.
        crop: Crop settings.
        copies: Copies of the features that are held in memory.

    Raises:
        ConfigError: They need more memory than is free.
    """
    part, width = max(model.widths(crop.image_size).items(), key=lambda item: item[1])
    needed, free = copies * BYTES_PER_FEATURE * num_images * width, free_main_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"logistic regression on {num_images:,} images and {width:,} features of {part} needs "
            f"{gigabytes(needed)} of memory, and {gigabytes(free)} are free: {REMEDY}, or choose "
            "--kind knn, which reads features from disk in blocks"
        )
