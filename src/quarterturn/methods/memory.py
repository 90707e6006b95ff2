"""How much memory a training step will need, estimated before training.

Shapes: B images in the part of a batch that goes through the network at once; S their side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from quarterturn.config.validation import flag
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.errors import ConfigError
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.methods.discrimination_options import DiscriminationOptions

OPTIMIZER_COPIES = {"sgd": 1, "adamw": 2}
"""Values that the optimizer keeps for each parameter."""

PER_IMAGE_NOISE_BYTES = 8 + 4 * 4
"""For each noise sample of each image: its number, its product, and what the loss keeps of it."""

SAFE_SHARE = 0.9
"""Of the free memory: an advice that leaves no more would be none."""

HOPELESS = 4
"""Times the free memory: no estimate is that far off, and no swap is that large."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, by what they are for.

    Attributes:
        weights: Parameters, their gradients, what the optimizer keeps, and a teacher's.
        bank: The memory bank and the noise of a step.
        images: Images that are kept on the device.
        activations: What the forward pass keeps for the backward pass, and the two largest
            gradients on the way back. What a library's convolutions use besides is not known.
    """

    weights: int
    bank: int
    images: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.bank + self.images + self.activations

    def __str__(self) -> str:
        parts = {
            "weights, gradients and optimizer": self.weights,
            "memory bank and noise": self.bank,
            "images": self.images,
            "activations": self.activations,
        }
        words = ", ".join(f"{name} {gigabytes(size)}" for name, size in parts.items() if size)
        return f"{gigabytes(self.total)} ({words})"


def gigabytes(size: float) -> str:
    """Bytes as people say them: ``3.1 GB``, ``180 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 0.95e9 else f"{size / 1e6:.0f} MB"


def estimate_memory(
    config: Config,
    images: ImageSet,
    *,
    precision: str,
    device: torch.device | str = "cpu",
    processes: int = 1,
) -> MemoryEstimate:
    """Estimate what a training step needs on each device, computing nothing.

    Args:
        config: The whole configuration.
        images: Those to learn from.
        precision: ``32-true`` or ``bf16-mixed``.
        device: Where it is trained; a processor has the images in its memory already.
        processes: That share each batch.
    """
    run, method = config.run, config.method
    part = math.ceil(run.batch_size / processes / run.accumulate)
    bank = 0
    if isinstance(method, DiscriminationOptions):
        bank = 4 * method.embedding_dim * len(images)
        if method.noise == "shared":
            bank += 4 * method.embedding_dim * method.num_noise
        else:
            bank += PER_IMAGE_NOISE_BYTES * method.num_noise * part
    parameters, activations = _network_memory(
        lambda: build_network(config, len(images.class_names)),
        method.input_shapes(part, config.data.image_size),
        precision,
    )
    images_bytes = 0
    if isinstance(images, ArrayImages) and torch.device(device).type != "cpu":
        images_bytes = len(images) * images.array[:1].nbytes
    return MemoryEstimate(
        weights=4 * parameters * (2 + OPTIMIZER_COPIES[config.optimizer.optimizer])
        + (4 * parameters if method.needs_start else 0),
        bank=bank,
        images=images_bytes,
        activations=activations,
    )


def checkpoint_bytes(config: Config, num_images: int) -> int:
    """What a checkpoint takes on the disk: weights, the optimizer's values, and the bank.

    Args:
        config: The whole configuration.
        num_images: Images to learn from.
    """
    with torch.device("meta"):
        network = build_network(config, num_classes=2)
    num_weights = sum(parameter.numel() for parameter in network.parameters())
    kept = num_weights * (1 + OPTIMIZER_COPIES[config.optimizer.optimizer])
    if isinstance(config.method, DiscriminationOptions):
        kept += config.method.embedding_dim * num_images
    return 4 * kept


def memory_words(
    config: Config,
    images: ImageSet,
    *,
    precision: str,
    device: torch.device | str,
    processes: int,
    free: int | None,
    used: int | None = None,
) -> tuple[str, str]:
    """Estimate the memory that a training step needs, and compare it with what is free.

    Arguments as for `estimate_memory`, and ``free``, the bytes that are left to this process before
    anything of the training is there, and ``used``, those that it has taken by then: for libraries,
    images in memory, and the list of the images. None where that is not known.

    Returns:
        The estimate in words; and what to do where that is more than is free, else empty.

    Raises:
        ConfigError: It is so much more that the training would be killed.
    """

    def estimate(config: Config) -> MemoryEstimate:
        return estimate_memory(
            config, images, precision=precision, device=device, processes=processes
        )

    try:
        needed = estimate(config)
    except Exception as error:
        # Torch may not know how to run some network without values. That is no reason not to train.
        return f"memory for a step: not known ({type(error).__name__})", ""
    words = f"memory for a step, estimated: {needed}"
    if used is not None:
        words += f" beside the {gigabytes(used)} in use now"
    if free is None:
        return words, ""
    words += f"; {gigabytes(free)} are free"
    if needed.total <= free:
        return words, ""
    advice = f"a step needs more memory than is free; a smaller {_smaller(config, needed)} helps"
    if (parts := _parts_that_fit(config, estimate, processes, free)) is not None:
        advice += f", or --accumulate {parts[0]}: {gigabytes(parts[1])}"
    if needed.total > HOPELESS * free:
        raise ConfigError(f"{words}: {advice}")
    return words, advice


def _parts_that_fit(
    config: Config, estimate: Callable[[Config], MemoryEstimate], processes: int, free: int
) -> tuple[int, int] | None:
    """Into how many parts a batch is to be cut, and the bytes that a step then needs."""
    for parts in (2**n for n in range(1, 10)):
        if parts <= config.run.accumulate:
            continue
        if config.method.compares_views:  # over a whole batch, which has no parts
            return None
        if 2 * parts * processes > config.run.batch_size:
            return None
        needed = estimate(config.with_settings(accumulate=parts)).total
        if needed < SAFE_SHARE * free:
            return parts, needed
    return None


def _smaller(config: Config, needed: MemoryEstimate) -> str:
    """What could be smaller: the settings that the largest part of the memory comes from."""
    if needed.activations >= needed.total / 2:
        names = ["image_size", "batch_size", "num_views"]
    elif needed.bank >= needed.total / 2:
        names = ["num_noise", "embedding_dim"]
    else:
        names = ["image_size", "embedding_dim", "head_width"]
    found = config.settings()
    listed = [f"{flag(name)} ({found[name]:,})" for name in names if name in found]
    return " or ".join(listed)


def _network_memory(
    build: Callable[[], nn.Module], input_shapes: list[tuple[int, ...]], precision: str
) -> tuple[int, int]:
    """Parameters, and bytes of activations, of a network that is trained on inputs of such shapes.

    The network runs forward on fake tensors, which have shapes and no values, and what autograd
    would keep is counted.
    """
    saved: dict[int, int] = {}
    alive: list[Tensor] = []  # until the end, so that no storage's number is given twice

    def pack(tensor: Tensor) -> Tensor:
        storage: Any = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with FakeTensorMode():
        network = build().train()
        weights = {p.untyped_storage()._cdata for p in network.parameters()}
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"),
        ):
            network(*(torch.empty(shape) for shape in input_shapes))
        parameters = sum(p.numel() for p in network.parameters())
    sizes = [size for number, size in saved.items() if number not in weights]
    return parameters, sum(sizes) + 2 * max(sizes, default=0)
