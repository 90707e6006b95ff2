"""What the method adds to a training step: whole step against a bare one of the same backbone.

The bare step is a forward, a backward and an optimizer step of only the backbone on the same 4B
images. All are timed in turn, and the ratios are taken round by round, since a machine's speed
drifts. Several sizes of the data set show whether a step's time depends on it.

    python benchmarks/step.py --backbone alexnet --image-size 224 --batch-size 48 \
        --instances 1281167
    python benchmarks/step.py --backbone resnet18 --image-size 32 --batch-size 128 \
        --instances 50000
    python benchmarks/step.py --instances 10000 1000000 10000000
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import tyro

from quarterturn.data.batches import Batch, TrainingBatches
from quarterturn.data.imageset import ArrayImages
from quarterturn.engine.loop import Training, training_step
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config
from quarterturn.models.registry import build_backbone
from quarterturn.rotation import rotate4
from timing import seconds


@dataclass(frozen=True)
class Options:
    """What to time."""

    backbone: str = "convnet"
    image_size: int = 64
    batch_size: int = 64
    instances: tuple[int, ...] = (1_000_000,)
    """Images in the data set; the first is what the others are compared with."""
    method: Literal["decoupling", "rotnet", "instance"] = "decoupling"
    loss: Literal["nce", "infonce"] = "infonce"
    noise: Literal["shared", "per-image"] = "shared"
    num_noise: int = 4096
    rounds: int = 9
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False


def main(options: Options) -> None:
    runtime = Runtime(options.device, options.precision, compile=options.compile)
    config = Config().with_settings(
        backbone=options.backbone,
        image_size=options.image_size,
        method=options.method,
        instance_loss=options.loss,
        noise=options.noise,
        num_noise=options.num_noise,
        batch_size=options.batch_size,
    )
    side = options.image_size
    images = torch.randn(options.batch_size, 3, side, side, device=runtime.device)
    batch = Batch(torch.arange(options.batch_size, device=runtime.device), images)
    steps = {n: whole_step(config, n, runtime, batch) for n in options.instances}
    bare = bare_step(config, runtime, batch)
    for step in (bare, *steps.values()):
        step()
        step()
    rounds = [
        (seconds(bare, runtime), {n: seconds(step, runtime) for n, step in steps.items()})
        for _ in range(options.rounds)
    ]
    noise = f"K = {options.num_noise} {options.noise} ({options.loss})"
    print(
        f"{options.method}, {options.backbone} at {side} px, B = {options.batch_size}, {noise}, "
        f"{runtime.device} {runtime.precision}{', compiled' if options.compile else ''}, "
        f"n = {options.rounds}\n"
        f"  bare step {statistics.median(b for b, _ in rounds) * 1e3:10.1f} ms"
    )
    first = options.instances[0]
    for n in options.instances:
        of_bare = [whole[n] / bare for bare, whole in rounds]
        of_first = statistics.median(whole[n] / whole[first] for _, whole in rounds)
        print(
            f"  N = {n:<12,} {statistics.median(w[n] for _, w in rounds) * 1e3:8.1f} ms, "
            f"{statistics.median(of_bare):.3f} of the bare step "
            f"({min(of_bare):.3f} to {max(of_bare):.3f})"
            + (f", {of_first:.3f} of N = {first:,}" if n != first else "")
        )


def whole_step(
    config: Config, instances: int, runtime: Runtime, batch: Batch
) -> Callable[[], object]:
    method = build_method(config, instances, device=runtime.device)
    network = runtime.wrap(method.network)
    blank = torch.zeros(8, 8, 8, 3, dtype=torch.uint8).numpy()
    training = Training(
        method,
        TrainingBatches(ArrayImages(blank, list("abcdefgh")), config.data, batch_size=8, seed=0),
        build_optimizer(method.network, config.optimizer),
        config.optimizer,
        runtime,
        Telemetry(None, total_steps=1, steps_per_epoch=1),
        epochs=1,
    )

    def step() -> None:
        training_step(training, network, batch)
        training.step += 1  # other noise, as in a training

    return step


def bare_step(config: Config, runtime: Runtime, batch: Batch) -> Callable[[], object]:
    backbone = build_backbone(config.model.backbone, config.data.image_size)
    backbone = backbone.to(runtime.device).to(memory_format=torch.channels_last)
    network = runtime.wrap(backbone)
    optimizer = build_optimizer(backbone, config.optimizer)
    whole = batch.images if not config.method.has_rotation_loss else rotate4(batch.images)
    copies = whole.reshape(-1, *batch.images.shape[1:])

    def step() -> None:
        with runtime.autocast():
            loss = network(copies).float().square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main(tyro.cli(Options))
