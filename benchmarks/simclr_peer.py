"""SimCLR by lightly as a peer: our images, backbone, views a step, time and probes.

The recipe is lightly's own for CIFAR-10 (``cifar10_benchmark.py`` in its documentation): its
augmentation without blur at half the colour jitter, projection head 512-512-128, NT-Xent at
temperature 0.5, SGD with a learning rate of 0.06 for 128 images (in proportion for others), weight
decay 5e-4, cosine. Backbone, batch size and length are ours: the training ends when ``--minutes``
are spent, and the cosine runs over the share of them that has passed. The time counts all that a
training does, augmentation and compilation with it; the probes come after.

    pip install lightly
    python benchmarks/simclr_peer.py cifar10.npz --limit 10000 --minutes 20 --out simclr.json

Shapes: B images in a batch, two views of each; S the side of a view.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.selection import limit_images, match_classes, select_images
from quarterturn.data.sources import Source
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import stdout_console
from quarterturn.evaluation.probe import Probe, Representation
from quarterturn.models.backbone import Backbone
from quarterturn.models.registry import build_backbone
from quarterturn.report.tables import Table, print_table
from quarterturn.runs import write_json

try:
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
except ImportError as error:
    raise SystemExit(
        f"the peer is lightly, which is missing: pip install lightly ({error})"
    ) from None


@dataclass(frozen=True)
class Options:
    """What to train, for how long, and where to write the figures."""

    data: tyro.conf.Positional[str]
    """Labelled images with a test split; training does not read the labels."""
    limit: int | None = None
    """Learn from at most this many images: those of `quarterturn pretrain --limit`."""
    probe_limit: int | None = None
    """Probe with at most this many images of each part, those of `quarterturn probe --limit`; as
    many as limit by default."""
    minutes: float = 20.0
    """Time to train for."""
    views: int = 128
    """Augmented views a step, two an image."""
    backbone: str = "resnet18"
    image_size: int = 32
    """Side of the views, in pixels."""
    eval_crop: float = DataConfig.eval_crop
    """Side of the probes' centre crop; to be that of the run compared with."""
    seed: int = 0
    probe_seeds: int = 3
    """How many draws of the test images' turns."""
    compile: bool = False
    """Compile the backbone; the time counts it."""
    workers: int = 0
    """Processes that augment."""
    device: str = "auto"
    precision: str = "auto"
    out: Path | None = None
    """JSON file for the figures; the backbone's weights are saved beside it, as .pt."""


def main(options: Options) -> None:
    runtime = Runtime(options.device, options.precision)
    crop = DataConfig(
        limit=options.limit, image_size=options.image_size, eval_crop=options.eval_crop
    )
    selection = select_images(options.data, crop)
    known, test = labelled_parts(selection.source, options.probe_limit or options.limit)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    backbone = build_backbone(options.backbone, options.image_size, seed=options.seed)
    backbone = backbone.to(runtime.device).to(memory_format=torch.channels_last)
    training = fit(backbone, selection.train, crop, options, runtime)
    if options.out is not None:
        torch.save(backbone.state_dict(), options.out.with_suffix(".pt"))

    model = remembering(backbone.eval())
    representation = Representation(model, lambda features: {"backbone": features})
    figures: dict[str, list[float]] = {}
    for seed in range(options.probe_seeds):
        probe = Probe(known, test, crop, kinds=("knn", "linear"), seed=seed, device=runtime.device)
        for name, value in probe.run(representation):
            figures.setdefault(name, []).append(value["top1"])
    print_table(stdout_console(), table(figures, training, len(known), len(test)))
    if options.out is not None:
        settings = {name: value for name, value in asdict(options).items() if name != "out"}
        versions = {name: importlib.metadata.version(name) for name in ("lightly", "torch")}
        environment = {
            "versions": versions, "device": str(runtime.device),
            "precision": runtime.precision, "threads": torch.get_num_threads(),
        }  # fmt: skip
        result = {
            "settings": settings, "environment": environment, "training": training,
            "probe_training_images": len(known), "probe_test_images": len(test),
            "top1_by_seed": figures,
        }  # fmt: skip
        write_json(options.out, result)


def labelled_parts(source: Source, limit: int | None) -> tuple[ImageSet, ImageSet]:
    """The images that `quarterturn probe` learns from and tests on."""
    train, test = source.train, source.test
    if train.labels is None or test is None or test.labels is None:
        raise SystemExit(f"{source.name} has no labels or no test split to probe with")
    return limit_images(train, limit), limit_images(match_classes(test, train), limit)


def remembering(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model, that computes no batch twice: upright images are the same for every seed."""
    found: dict[bytes, Tensor] = {}

    def remembered(views: Tensor) -> Tensor:
        key = hashlib.sha256(views.cpu().numpy().tobytes()).digest()
        if key not in found:
            found[key] = model(views)
        return found[key]

    return remembered


class Views(Dataset[list[Tensor]]):
    """Two augmented views of each image, (3, S, S)."""

    def __init__(self, images: ImageSet, transform: Callable[[Any], list[Tensor]]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        return self.transform(self.images.read(index))


def fit(
    backbone: Backbone, images: ImageSet, crop: DataConfig, options: Options, runtime: Runtime
) -> dict[str, float]:
    """Train the backbone until the time is spent, and say how much it has seen."""
    torch.manual_seed(options.seed)
    batch_size = min(options.views // 2, len(images))
    transform = SimCLRTransform(
        input_size=crop.image_size, cj_strength=0.5, gaussian_blur=0.0,
        normalize={"mean": list(crop.mean), "std": list(crop.std)},
    )  # fmt: skip
    loader = DataLoader(
        Views(images, transform), batch_size, shuffle=True, drop_last=True,
        num_workers=options.workers, persistent_workers=options.workers > 0,
    )  # fmt: skip
    head = SimCLRProjectionHead(backbone.feature_dim, 512, 128).to(runtime.device)
    criterion = NTXentLoss(temperature=0.5)
    base_rate = 6e-2 * batch_size / 128
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, base_rate, momentum=0.9, weight_decay=5e-4)
    network = torch.compile(backbone) if options.compile else backbone
    backbone.train()

    def project(views: Tensor) -> Tensor:
        views = views.to(runtime.device, memory_format=torch.channels_last)
        with runtime.autocast():
            features = network(views)
        return head(features.float())

    start, step, tenths = time.perf_counter(), 0, 1
    # Batches without end, epoch after epoch.
    for first, second in itertools.chain.from_iterable(itertools.repeat(loader)):
        share = (time.perf_counter() - start) / (60 * options.minutes)
        if share >= 1 and step > 0:
            break
        for group in optimizer.param_groups:
            group["lr"] = base_rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2
        loss = criterion(project(first), project(second))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if not math.isfinite(loss.item()):
            raise SystemExit(f"the loss is {loss.item()} at step {step}")
        if share >= tenths / 10:
            tenths = int(10 * share) + 1
            print(f"{share:4.0%} of the time, step {step}, loss {loss.item():.3f}", flush=True)
    elapsed_s, seen = time.perf_counter() - start, step * batch_size
    return {
        "minutes": elapsed_s / 60, "steps": step, "batch_size": batch_size, "views": 2 * seen,
        "epochs": seen / len(images), "images_per_s": seen / elapsed_s, "last_loss": loss.item(),
    }  # fmt: skip


def table(
    figures: dict[str, list[float]], training: dict[str, float], num_train: int, num_test: int
) -> Table:
    """Top-1 by classifier and view, with what the training has seen below."""
    rows = dict.fromkeys(name.rpartition("/")[0] for name in figures)
    seeds = len(next(iter(figures.values())))
    return Table(
        "SimCLR (lightly), probes on frozen features",
        ["classifier", "upright", "turned"],
        [
            [row, *(percent(figures[f"{row}/{view}"]) for view in ("upright", "turned"))]
            for row in rows
        ],
        note=(
            f"top-1 accuracy in %; {num_train:,} training and {num_test:,} test images; one "
            f"training, n = {seeds} draws of turns; learned for {training['minutes']:.1f} minutes: "
            f"{training['epochs']:.2f} epochs, {training['steps']:,} steps, "
            f"{training['views']:,} views, {training['images_per_s']:.1f} images/s"
        ),
    )


def percent(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
