"""A network's features from the cache, computed by a pass over the images if they are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data import crop_plans
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cache import Entry, EntryWriter, FeatureCache
from quarterturn.features.extraction import Features, extract_parts
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.progress import skip


def is_complete(images: ImageSet, cache: FeatureCache, key: str) -> bool:
    """Whether an entry has every image that can be read.

    Images that it lacks are tried again: a file may have been unreadable only for a while, such as
    on a disk that was not mounted.
    """
    return _left_out(images, cache, key) is not None


def cached_features(
    images: ImageSet,
    crop: DataConfig,
    model: NetworkFeatures,
    cache: FeatureCache,
    *,
    turns: Tensor | None = None,
    squashed: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch_size: int = 256,
    failed: dict[int, str] | None = None,
    runtime: Runtime | None = None,
) -> dict[str, Features]:
    """`extract_parts` of a network, computing only the layers that are not in the cache.

    Each layer is an entry of its own, whatever other layers are asked for with it. An entry that
    lacks images is computed again once one of them can be read; see `is_complete`.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        model: The network's features.
        cache: The feature cache.
        turns: (N,) quarter turns, one per image; None for upright images.
        squashed: Show whole images, squashed, in place of centre crops.
        device: The network's device.
        workers: Processes that decode files.
        batch_size: Images per batch.
        failed: Filled with the images that cannot be decoded, also where the cache lacks them.
        runtime: Processes that share the pass, all of which call this; None for one. Only the main
            one needs the cache.

    Returns:
        Part to features, memory-mapped where the cache has them, in the order of the backbone's
        layers; nothing to all but the main process.

    Raises:
        DataError: No image could be decoded; or, without ``failed``, too many could not.
    """
    is_main = runtime is None or runtime.is_main
    keys = {
        layer: model.cache_key(layer, images, crop, turns, squashed=squashed)
        for layer in model.layers
    }
    left_out = {layer: _left_out(images, cache, keys[layer]) for layer in keys if is_main}
    missing = tuple(layer for layer, reasons in left_out.items() if reasons is None)
    if runtime is not None:
        missing = runtime.gather_objects(missing)[0]
    computed: dict[str, Features] = {}
    if missing:
        wanted = model.only(missing)
        writer = None
        if is_main and cache.keeps:
            writers = {layer: cache.writer(keys[layer], len(images)) for layer in missing}
            writer = _ByLayer(wanted, writers)
        computed = extract_parts(
            images,
            crop,
            wanted,
            turns=turns,
            device=device,
            workers=workers,
            batch_size=batch_size,
            view=crop_plans.squashed if squashed else None,
            failed=failed,
            writer=writer,
            runtime=runtime,
        )
    else:
        skip("features", len(images))
    if not is_main:
        return {}
    found: dict[str, Features] = {}
    for layer in model.layers:
        if (reasons := left_out[layer]) is None:
            found |= {part: of for part, of in computed.items() if model.layer_of(part) == layer}
            continue
        if failed is not None:
            failed |= reasons
        numbers, arrays = cache.read(keys[layer])
        labels = None if images.targets is None else images.targets[numbers]
        found |= {name: Features(values, numbers, labels) for name, values in arrays.items()}
    return found


def _left_out(images: ImageSet, cache: FeatureCache, key: str) -> dict[int, str] | None:
    """The images that an entry lacks, with the reasons; None for one that is not complete."""
    if not cache.has(key):
        return None
    reasons = {}
    for index in np.setdiff1d(np.arange(len(images)), cache.read(key)[0]).tolist():
        try:
            images.read(index)
        except UnreadableImageError as error:
            reasons[index] = str(error)
        else:
            return None
    return reasons


class _ByLayer:
    """Passes the parts of a network's features on to the writers of their layers."""

    def __init__(self, model: NetworkFeatures, writers: dict[str, EntryWriter]) -> None:
        self.model, self.writers = model, writers

    def append(self, name: str, values: NDArray[Any]) -> None:
        self.writers[self.model.layer_of(name)].append(name, values)

    def finish(self, indices: NDArray[np.int64]) -> Entry:
        entries = [writer.finish(indices)[1] for writer in self.writers.values()]
        return indices, {name: values for entry in entries for name, values in entry.items()}

    def discard(self) -> None:
        for writer in self.writers.values():
            writer.discard()
