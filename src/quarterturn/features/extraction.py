"""Features of all images of a set, in one pass without gradients.

Shapes: n images; d width of a part of the features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.data.batches import Batch
from quarterturn.data.crop_plans import CropPlan
from quarterturn.data.imageset import ImageSet
from quarterturn.data.row_subset import Matrix, RowSubset
from quarterturn.data.unreadable import check_unreadable, list_unreadable, warn_changed
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError, DataError
from quarterturn.features.cache import MemoryWriter, Writer
from quarterturn.features.shared_pass import shared_pass
from quarterturn.progress import stage
from quarterturn.randomness import integers
from quarterturn.rotation import rotate_each

Found = TypeVar("Found", Tensor, dict[str, Tensor])


@dataclass(frozen=True)
class Features:
    """Features of the images that could be read.

    Attributes:
        values: (n, d) float32, or (n, ...) for maps; may be memory-mapped.
        indices: (n,) numbers of the images.
        labels: (n,) classes, (n, C) label sets, or None.
    """

    values: NDArray[np.float32]
    indices: NDArray[np.int64]
    labels: NDArray[Any] | None

    def of(self, images: NDArray[np.int64]) -> LabelledFeatures:
        """The labelled features of the numbered images, without those that could not be read."""
        rows = np.flatnonzero(np.isin(self.indices, images))
        is_whole = len(rows) == len(self.indices)
        assert self.labels is not None
        values = self.values if is_whole else RowSubset(self.values, rows)
        return LabelledFeatures(values, self.indices[rows], self.labels[rows])


NO_FEATURES = Features(np.empty((0, 0), np.float32), np.empty(0, np.int64), None)
"""What all but the main process are given."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Features with labels, of a subset of the images; rows are read when they are used.

    Attributes:
        values: (n, d) float32.
        indices: (n,) numbers of the images.
        labels: (n,) classes, or (n, C) label sets.
    """

    values: Matrix
    indices: NDArray[np.int64]
    labels: NDArray[Any]


def extract(
    images: ImageSet,
    crop: DataConfig,
    model: Callable[[Tensor], Tensor],
    *,
    turns: Tensor | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch_size: int = 256,
    failed: dict[int, str] | None = None,
    crops_of: Callable[[Tensor], CropPlan] | None = None,
    runtime: Runtime | None = None,
) -> Features:
    """Run a model over the centre crops of a set.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        model: (B, 3, S, S) to (B, ...); a module is put in eval mode meanwhile.
        turns: (N,) quarter turns, one per image; None for upright images.
        device: The model's device.
        workers: Processes that decode files.
        batch_size: Images per batch.
        failed: Filled with the images that cannot be decoded, which are left out.
        crops_of: (n,) numbers of images to their crops, in place of the centre crops.
        runtime: Processes that share the pass, all of which call this; None for one. All but the
            main process are given no rows.

    Raises:
        CheckpointError: A feature is not finite.
        DataError: No image could be decoded; or, without ``failed``, more than
            ``crop.max_bad_fraction`` of them could not.
    """
    values, indices = [], []
    for numbers, output in _batches(
        images,
        crop,
        model,
        turns,
        device,
        workers,
        batch_size,
        failed,
        crops_of=crops_of,
        runtime=runtime,
    ):
        values.append(output)
        indices.append(numbers)
    if runtime is not None and not runtime.is_main:
        return NO_FEATURES
    return _labelled(images, torch.cat(values).numpy(), torch.cat(indices).numpy())


def extract_parts(
    images: ImageSet,
    crop: DataConfig,
    model: Callable[[Tensor], dict[str, Tensor]],
    *,
    turns: Tensor | None = None,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch_size: int = 256,
    view: Callable[[int], CropPlan] | None = None,
    failed: dict[int, str] | None = None,
    writer: Writer | None = None,
    runtime: Runtime | None = None,
) -> dict[str, Features]:
    """Run a model with several named outputs over the centre crops of a set.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        model: (B, 3, S, S) to part to (B, d); a module is put in eval mode meanwhile.
        turns: (N,) quarter turns, one per image; None for upright images.
        device: The model's device.
        workers: Processes that decode files.
        batch_size: Images per batch.
        view: A number of images to their crops, in place of the centre crops.
        failed: Filled with the images that cannot be decoded, which are left out.
        writer: Takes the features batch by batch; None collects them in memory.
        runtime: Processes that share the pass, all of which call this; None for one.

    Returns:
        Part to features; nothing to all but the main process.

    Raises:
        CheckpointError: A feature is not finite.
        DataError: No image could be decoded; or, without ``failed``, more than
            ``crop.max_bad_fraction`` of them could not.
    """
    writer = MemoryWriter() if writer is None else writer
    indices = []
    try:
        for numbers, output in _batches(
            images,
            crop,
            model,
            turns,
            device,
            workers,
            batch_size,
            failed,
            view=view,
            runtime=runtime,
        ):
            indices.append(numbers.numpy())
            for name, values in output.items():
                writer.append(name, values.numpy())
        if runtime is not None and not runtime.is_main:
            return {}
        read, arrays = writer.finish(np.concatenate(indices))
    except BaseException:
        writer.discard()
        raise
    return {name: _labelled(images, values, read) for name, values in arrays.items()}


@torch.no_grad()
def _batches(
    images: ImageSet,
    crop: DataConfig,
    model: Callable[[Tensor], Found],
    turns: Tensor | None,
    device: torch.device | str,
    workers: int,
    batch_size: int,
    failed: dict[int, str] | None = None,
    view: Callable[[int], CropPlan] | None = None,
    crops_of: Callable[[Tensor], CropPlan] | None = None,
    runtime: Runtime | None = None,
) -> Iterator[tuple[Tensor, Found]]:
    """The image numbers of each batch, and the model's output, in float32 on the CPU."""
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    limit = crop.max_bad_fraction if failed is None else 1.0
    failed = {} if failed is None else failed
    changed: set[int] = set()
    num_read = 0

    def compute(batch: Batch) -> Found:
        views = batch.images
        if turns is not None:
            views = rotate_each(views, turns.to(views.device)[batch.indices])
        return model(views)

    options: dict[str, Any] = {"device": device, "workers": workers, "batch_size": batch_size}
    options |= {"view": view, "crops_of": crops_of}
    try:
        with stage("features", total=len(images), weight=len(images)) as bar:
            for share in shared_pass(images, crop, compute, runtime=runtime, **options):
                failed.update(share.failed)
                changed |= share.changed
                if share.output is not None:
                    num_read += len(share.numbers)
                    _require_finite(share.output, [images.names[i] for i in share.numbers.tolist()])
                    yield share.numbers, share.output
                    bar.advance(len(share.numbers))
    finally:
        if was_training and isinstance(model, nn.Module):
            model.train()
    if runtime is not None and not runtime.is_main:
        return
    warn_changed(images, changed)
    bad = {images.names[i]: reason for i, reason in failed.items()}
    check_unreadable(bad, len(images) - len(bad), limit)
    if num_read == 0:
        raise DataError("none of the images can be decoded:\n" + "\n".join(list_unreadable(bad)))


def _require_finite(output: Tensor | dict[str, Tensor], names: Sequence[str]) -> None:
    """Refuse NaN and infinity, which would pass for features in every file and figure.

    Args:
        output: (B, ...) of a model, or several such by their names.
        names: (B,) of the images.

    Raises:
        CheckpointError: Names the first of the images.
    """
    for values in output.values() if isinstance(output, dict) else (output,):
        if bool(values.sum(dtype=torch.float32).isfinite()):
            continue  # one reduction in place of one for each image
        wrong = (~values.flatten(1).isfinite()).any(dim=1).nonzero().flatten().tolist()
        if wrong:
            raise CheckpointError(
                f"the network gives NaN or infinity for {len(wrong)} of {len(names)} images, the "
                f"first {names[wrong[0]]}: its weights are damaged, or its training has diverged; "
                "take an earlier checkpoint"
            )


def _labelled(
    images: ImageSet, values: NDArray[np.float32], indices: NDArray[np.int64]
) -> Features:
    return Features(values, indices, None if images.targets is None else images.targets[indices])


def concatenate(features: Sequence[Features]) -> Features:
    """The rows of several sets of features, all of them with labels or all without."""
    labels = [f.labels for f in features if f.labels is not None]
    return Features(
        np.concatenate([f.values for f in features]),
        np.concatenate([f.indices for f in features]),
        np.concatenate(labels) if labels else None,
    )


def random_turns(num_images: int, seed: int) -> Tensor:
    """(N,) quarter turns uniform in 0..3, a function of the seed and the image's number."""
    return integers(4, seed, "turned test images", torch.arange(num_images))
