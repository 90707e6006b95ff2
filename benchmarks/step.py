"""What the method adds to a training step: whole step against a bare one of the same backbone.

The bare step is a forward, a backward and an optimizer step of the backbone alone on the same 4B
images. The two are timed in turn, and the ratio is taken round by round, since a machine's speed
drifts.

    python benchmarks/step.py --backbone alexnet --image-size 224 --batch-size 48 \
        --instances 1281167
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro

from quarterturn.config import Config
from quarterturn.data.batches import Batch, TrainingBatches
from quarterturn.data.imageset import ArrayImages
from quarterturn.engine.loop import Training, training_step
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.registry import build_method
from quarterturn.models.registry import build_backbone
from quarterturn.rotation import rotate4


@dataclass(frozen=True)
class Options:
    """What to time."""

    backbone: str = "convnet"
    image_size: int = 64
    batch_size: int = 64
    instances: int = 1_000_000
    noise: str = "shared"
    num_noise: int = 4096
    rounds: int = 9
    device: str = "auto"
    precision: str = "auto"


def main(options: Options) -> None:
    config = Config().with_settings(
        backbone=options.backbone, image_size=options.image_size, noise=options.noise,
        num_noise=options.num_noise, batch_size=options.batch_size,
    )  # fmt: skip
    runtime = Runtime(options.device, options.precision)
    images = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
    batch = Batch(
        torch.arange(options.batch_size, device=runtime.device), images.to(runtime.device)
    )
    ours, bare = whole_step(config, options, runtime, batch), bare_step(config, runtime, batch)
    for step in (ours, bare):
        for _ in range(2):
            seconds(step, runtime)
    rounds = [(seconds(ours, runtime), seconds(bare, runtime)) for _ in range(options.rounds)]
    ratios = [a / b for a, b in rounds]
    print(
        f"{options.backbone} at {options.image_size} px, B = {options.batch_size}, "
        f"N = {options.instances:,}, K = {options.num_noise} {options.noise}, {runtime.device} "
        f"{runtime.precision}: whole step {statistics.median(a for a, _ in rounds) * 1e3:.1f} ms, "
        f"bare step {statistics.median(b for _, b in rounds) * 1e3:.1f} ms, ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, "
        f"n = {options.rounds})"
    )


def whole_step(
    config: Config, options: Options, runtime: Runtime, batch: Batch
) -> Callable[[], object]:
    method = build_method(config, options.instances, device=runtime.device)
    blank = ArrayImages(
        torch.zeros(8, 8, 8, 3, dtype=torch.uint8).numpy(), list(map(str, range(8)))
    )
    training = Training(
        method,
        TrainingBatches(blank, config.data, batch_size=8, seed=0),
        build_optimizer(method.network, config.optimizer),
        config.optimizer,
        runtime,
        Telemetry(None, total_steps=1, steps_per_epoch=1),
        epochs=1,
    )
    return lambda: training_step(training, method.network, batch)


def bare_step(config: Config, runtime: Runtime, batch: Batch) -> Callable[[], object]:
    backbone = build_backbone(config.model.backbone, config.data.image_size)
    backbone = backbone.to(runtime.device).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(backbone, config.optimizer)
    copies = rotate4(batch.images).flatten(0, 1)

    def step() -> None:
        with runtime.autocast():
            loss = backbone(copies).float().square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], object], runtime: Runtime) -> float:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(tyro.cli(Options))
