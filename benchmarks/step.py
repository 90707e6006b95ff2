"""What the method adds to a training step: whole step against a bare one of the same backbone.

The bare step is a forward, a backward and an optimizer step of only the backbone on the same 4B
images, or the same views. All are timed in turn, and the ratios are taken round by round, since a
machine's speed drifts. Several sizes of the data set show whether a step's time depends on it. With
a method that compares views, a step makes them too, from images in memory.

    python benchmarks/step.py --backbone alexnet --image-size 224 --batch-size 48 \
        --instances 1281167
    python benchmarks/step.py --backbone resnet18 --image-size 32 --batch-size 128 \
        --instances 50000
    python benchmarks/step.py --instances 10000 1000000 10000000
    python benchmarks/step.py --method multiview --backbone resnet18 --image-size 32 \
        --batch-size 42 --instances 1000
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import torch
import tyro

from arithmetic import flops_of, matmul_rate
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.view_batches import ViewBatches
from quarterturn.engine.loop import Training, training_step
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config
from quarterturn.methods.discrimination_options import DiscriminationOptions
from quarterturn.models.registry import build_backbone
from timing import over_rounds, seconds


@dataclass(frozen=True)
class Options:
    """What to time."""

    backbone: str = "convnet"
    image_size: int = 64
    batch_size: int = 64
    instances: tuple[int, ...] = (1_000_000,)
    """Images in the data set; the first is what the others are compared with."""
    method: Literal["decoupling", "multiview", "rotnet", "instance", "simclr"] = "decoupling"
    loss: Literal["nce", "infonce"] = "infonce"
    noise: Literal["shared", "per-image"] = "shared"
    num_noise: int = 4096
    rounds: int = 9
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    share: bool = False
    """Hold a step's floating-point operations against this device's rate of matrix products."""


def main(options: Options) -> None:
    runtime = Runtime(options.device, options.precision, compile=options.compile)
    config = Config().with_settings(
        backbone=options.backbone,
        image_size=options.image_size,
        method=options.method,
        batch_size=options.batch_size,
    )
    noise = ""
    if isinstance(config.method, DiscriminationOptions):
        config = config.with_settings(
            instance_loss=options.loss, noise=options.noise, num_noise=options.num_noise
        )
        noise = f"K = {options.num_noise} {options.noise} ({options.loss}), "
    side = options.image_size
    steps = {n: whole_step(config, n, runtime) for n in options.instances}
    bare = bare_step(config, runtime)
    for step in (bare, *steps.values()):
        step()
        step()
    rounds = [
        (seconds(bare, runtime), {n: seconds(step, runtime) for n, step in steps.items()})
        for _ in range(options.rounds)
    ]
    print(
        f"{options.method}, {options.backbone} at {side} px, B = {options.batch_size}, {noise}"
        f"{runtime.device} {runtime.precision}{', compiled' if options.compile else ''}, "
        f"n = {options.rounds}\n"
        f"  bare step {statistics.median(b for b, _ in rounds) * 1e3:10.1f} ms"
    )
    first = options.instances[0]
    figures: list[dict[str, Any]] = []
    for n in options.instances:
        of_bare = [whole[n] / bare for bare, whole in rounds]
        of_first = statistics.median(whole[n] / whole[first] for _, whole in rounds)
        whole_s = statistics.median(whole[n] for _, whole in rounds)
        figures.append(
            {
                "instances": n,
                "whole_s": whole_s,
                "of_bare": over_rounds(of_bare),
                "of_first": None if n == first else of_first,
            }
        )
        print(
            f"  N = {n:<12,} {whole_s * 1e3:8.1f} ms, "
            f"{statistics.median(of_bare):.3f} of the bare step "
            f"({min(of_bare):.3f} to {max(of_bare):.3f})"
            + (f", {of_first:.3f} of N = {first:,}" if n != first else "")
        )
    bare_s = statistics.median(b for b, _ in rounds)
    whole_s = figures[0]["whole_s"]
    record = {
        "bare_s": bare_s,
        "rounds": options.rounds,
        "steps": figures,
        "images_per_s": options.batch_size / whole_s,
        "device": str(runtime.device),
        "precision": runtime.precision,
        "compiled": options.compile,
    }
    print(f"  {record['images_per_s']:,.0f} images/s")
    if options.share:
        plain = Runtime(options.device, options.precision)
        counted = flops_of(whole_step(config, min(options.instances), plain))
        rate = matmul_rate(plain)
        share = counted / whole_s / rate
        record |= {"flops": counted, "matmul_flops_per_s": rate, "share_of_rate": share}
        print(
            f"  {counted / 1e9:,.3g} GFLOP a step, {share:.1%} of this device's "
            f"{rate / 1e12:.3g} TFLOP/s in matrix products"
        )
    print(json.dumps(record))


def whole_step(config: Config, instances: int, runtime: Runtime) -> Callable[[], object]:
    method = build_method(config, instances, device=runtime.device)
    network = runtime.wrap(method.network)
    side, batch_size = config.data.image_size, config.run.batch_size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (4 * batch_size, side, side, 3), generator=generator).byte().numpy()
    images = ArrayImages(pixels, [str(i) for i in range(len(pixels))])
    shared = {"batch_size": batch_size, "seed": 0, "device": runtime.device}
    batches = TrainingBatches(images, config.data, **shared)
    if method.views is not None:
        batches = ViewBatches(images, config.data, law=method.views, **shared)
    training = Training(
        method,
        batches,
        build_optimizer(method.network, config.optimizer),
        config.optimizer,
        runtime,
        Telemetry(None, total_steps=1, steps_per_epoch=1),
        epochs=1,
    )
    coming = (batch for epoch in count() for batch in batches.epoch(epoch))
    kept = next(coming)

    def step() -> None:
        training_step(training, network, kept if method.views is None else next(coming))
        training.step += 1  # other noise, as in a training

    return step


def bare_step(config: Config, runtime: Runtime) -> Callable[[], object]:
    side = config.data.image_size
    backbone = build_backbone(config.model.backbone, side)
    backbone = backbone.to(runtime.device).to(memory_format=torch.channels_last)
    network = runtime.wrap(backbone)
    optimizer = build_optimizer(backbone, config.optimizer)
    shapes = config.method.input_shapes(config.run.batch_size, side)
    if config.method.has_rotation_loss and not config.method.compares_views:
        shapes = [(4 * config.run.batch_size, 3, side, side)]
    passes = [torch.randn(shape, device=runtime.device).view(-1, *shape[-3:]) for shape in shapes]

    def step() -> None:
        with runtime.autocast():
            loss = sum(network(views).float().square().mean() for views in passes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main(tyro.cli(Options))
