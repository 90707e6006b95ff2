"""A network's features from disk, and by a pass over the images where they are not there yet."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet
from quarterturn.features.cache import Entry, EntryWriter, FeatureCache
from quarterturn.features.extraction import Features, extract_parts
from quarterturn.features.network_features import NetworkFeatures


def is_complete(images: ImageSet, store: FeatureCache, key: str) -> bool:
    """Whether an entry has every image that can be read.

    Those that it lacks are tried again: what failed once, on a disk that was away, need not always.
    """
    if not store.has(key):
        return False
    lacking = np.setdiff1d(np.arange(len(images)), store.read(key)[0])
    return not any(_is_readable(images, index) for index in lacking.tolist())


def cached_features(
    images: ImageSet,
    crop: DataConfig,
    model: NetworkFeatures,
    store: FeatureCache,
    *,
    turns: Tensor | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch_size: int = 256,
) -> dict[str, Features]:
    """`extract_parts` of a network, that computes only the layers which the store has not.

    Each layer is an entry of its own, so it does not matter beside which others it was asked for.
    An entry that lacks images is made again when one of them can be read; see `is_complete`.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        model: The network's features.
        store: Where features are kept.
        turns: (N,) quarter turns, one for each image; upright without.
        device: Where the network is.
        workers: Processes that decode files.
        batch_size: Images at a time.

    Returns:
        Name to features, memory-mapped, in the order of the backbone's layers.

    Raises:
        DataError: Too many images, or all, could not be decoded.
    """
    keys = {layer: model.store_key(layer, images, crop, turns) for layer in model.layers}
    missing = tuple(layer for layer in model.layers if not is_complete(images, store, keys[layer]))
    if missing:
        wanted = NetworkFeatures(model.network, missing, model.grid, model.pool)
        writers = {layer: store.writer(keys[layer], len(images)) for layer in missing}
        extract_parts(
            images,
            crop,
            wanted,
            turns=turns,
            device=device,
            workers=workers,
            batch_size=batch_size,
            writer=_ByLayer(wanted, writers),
        )
    found: dict[str, Features] = {}
    for layer in model.layers:
        numbers, arrays = store.read(keys[layer])
        labels = None if images.labels is None else images.labels[numbers]
        found |= {name: Features(values, numbers, labels) for name, values in arrays.items()}
    return found


def _is_readable(images: ImageSet, index: int) -> bool:
    try:
        images.read(index)
    except UnreadableImageError:
        return False
    return True


class _ByLayer:
    """Hands the parts of a network's features to the writers of their layers."""

    def __init__(self, model: NetworkFeatures, writers: dict[str, EntryWriter]) -> None:
        self.model, self.writers = model, writers

    def append(self, name: str, values: NDArray[np.float32]) -> None:
        self.writers[self.model.layer_of(name)].append(name, values)

    def finish(self, indices: NDArray[np.int64]) -> Entry:
        entries = [writer.finish(indices)[1] for writer in self.writers.values()]
        return indices, {name: values for entry in entries for name, values in entry.items()}

    def discard(self) -> None:
        for writer in self.writers.values():
            writer.discard()
