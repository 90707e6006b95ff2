"""One pass over the images by all processes, put together in order by the main one.

The batches are dealt out in turn and are those of one process, so that features are the same to the
last bit however many processes compute them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.batches import Batch
from quarterturn.data.crop_plans import CropPlan
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ImageSet
from quarterturn.engine.runtime import Runtime

Output = TypeVar("Output", Tensor, dict[str, Tensor])


@dataclass(frozen=True)
class Share(Generic[Output]):
    """One batch of one process.

    Attributes:
        numbers: (n,) of the images that could be decoded, on the CPU.
        output: What was computed of them on the CPU, float32 or whole numbers; None where there are
            none.
        failed: Images that the process could not decode so far, with the reasons.
        changed: Images whose files have changed since they were indexed, that it has read so far.
    """

    numbers: Tensor
    output: Output | None
    failed: dict[int, str] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)


def shared_pass(
    images: ImageSet,
    crop: DataConfig,
    compute: Callable[[Batch], Output],
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch_size: int = 256,
    view: Callable[[int], CropPlan] | None = None,
    crops_of: Callable[[Tensor], CropPlan] | None = None,
    runtime: Runtime | None = None,
) -> Iterator[Share[Output]]:
    """Compute something of every batch of the centre crops.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        compute: Called with each of this process's batches.
        device: Device of the batches.
        workers: Processes that decode files.
        batch_size: Images per batch.
        view: A number of images to their crops, in place of the centre crops.
        crops_of: (n,) numbers of images to their crops, in place of both.
        runtime: The processes, all of which go through this; None for one.

    Yields:
        The shares of all processes to the main one, in the order of the images; the last of each
        process has no images, but all that failed. Nothing to the other processes.
    """
    rank, world_size = (0, 1) if runtime is None else (runtime.rank, runtime.world_size)
    failed: dict[int, str] = {}
    changed: set[int] = set()

    def own_shares() -> Iterator[Share[Output]]:
        for batch in evaluation_batches(
            images,
            crop,
            batch_size=batch_size,
            device=device,
            workers=workers,
            failed=failed,
            changed=changed,
            view=view,
            crops_of=crops_of,
            rank=rank,
            world_size=world_size,
        ):
            output = _on_cpu(compute(batch)) if len(batch) else None
            yield Share(batch.indices.cpu(), output, failed, changed)
        yield Share(torch.empty(0, dtype=torch.int64), None, failed, changed)

    own = own_shares()
    num_batches = math.ceil(len(images) / batch_size)
    for _ in range(math.ceil(num_batches / world_size) + 1):  # the same for all, who go in step
        share = next(own, None)
        shares = [share] if runtime is None else runtime.gather_to_main(share)
        yield from (each for each in shares if each is not None)


def _on_cpu(output: Output) -> Output:
    if isinstance(output, Tensor):
        return output.float().cpu()
    return {
        name: (values.float() if values.is_floating_point() else values).cpu()
        for name, values in output.items()
    }
