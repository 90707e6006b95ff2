"""SimCLR by lightly as a peer: our images, backbone, views a step, time and probes.

The recipe is lightly's own for CIFAR-10 (``cifar10_benchmark.py`` in its documentation): its
augmentation without blur at half the colour jitter, projection head 512-512-128, NT-Xent at
temperature 0.5, SGD with a learning rate of 0.06 for 128 images (in proportion for others), weight
decay 5e-4, cosine. Backbone, batch size and length are ours: the training ends when ``--minutes``
are spent, or after ``--epochs``, and the cosine runs over the share of them that has passed. The
time counts all that a training does, augmentation and compilation with it; the probes come after.

    pip install lightly
    python benchmarks/simclr_peer.py cifar10.npz --limit 10000 --minutes 20 --out simclr.json

Shapes: B images in a batch, two views of each; S the side of a view.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import open_labelled
from quarterturn.data.selection import select_images
from quarterturn.engine.runtime import Runtime
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.files import write_json
from quarterturn.methods.instance import InstanceNetwork
from quarterturn.models.backbone import Backbone
from quarterturn.models.registry import build_backbone
from quarterturn.pages.probe_tables import probe_table
from quarterturn.presets import preset
from quarterturn.probing.fitted import frozen_features_protocol, probe_over_seeds
from quarterturn.runs.protocols import protocol_id
from quarterturn.runs.record_files import to_json
from quarterturn.runs.records import ProbeResult, summarise

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
    epochs: float | None = None
    """How often to see each image, in place of a time."""
    views: int = 128
    """Augmented views a step, two an image; as many as the turned copies of the run compared with:
    four times its --batch-size."""
    preset: str = "cifar10-resnet18"
    """Size of the views, mean and deviation, and the probes' crop."""
    backbone: str = "resnet18"
    layers: tuple[str, ...] | None = None
    """Layers to probe; the last by default."""
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
    crop = dataclasses.replace(preset(options.preset).data, limit=options.limit)
    images = select_images(options.data, crop).train
    split = open_labelled(options.data, limit=options.probe_limit or options.limit)
    if split.test is None:
        raise SystemExit(f"{options.data} has no test split: held-out images would be learned from")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    backbone = build_backbone(options.backbone, crop.image_size, seed=options.seed)
    backbone = backbone.to(runtime.device).to(memory_format=torch.channels_last)
    training = fit(backbone, images, crop, options, runtime)
    if options.out is not None:
        torch.save(backbone.state_dict(), options.out.with_suffix(".pt"))

    # The heads of such a network are not asked for anything.
    features = NetworkFeatures(InstanceNetwork(backbone, 128), options.layers)
    measured = probe_over_seeds(
        features, split, crop, range(options.probe_seeds), origin="SimCLR", device=runtime.device
    )
    protocol = frozen_features_protocol(split, range(options.probe_seeds), grid=1)
    probed = ProbeResult(
        run="",
        epochs=training["epochs"],
        epochs_done=training["epochs"],
        data=str(options.data),
        name="simclr-peer",
        test=split.description,
        weights="",
        protocol=protocol,
        protocol_id=protocol_id(protocol),
        scores=summarise(measured),
        test_images_learned_from=0,  # it was trained on the training split only
    )
    result = {
        "training": training,
        "settings": {name: value for name, value in asdict(options).items() if name != "out"},
        "versions": {name: importlib.metadata.version(name) for name in ("lightly", "torch")},
        "device": str(runtime.device),
        "precision": runtime.precision,
        "threads": torch.get_num_threads(),
        "probe": to_json(probed),
    }
    Console().print(probe_table(probed))
    print(", ".join(f"{name} {value:.4g}" for name, value in training.items()))
    if options.out is not None:
        write_json(options.out, result)


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
        input_size=crop.image_size,
        cj_strength=0.5,
        gaussian_blur=0.0,
        normalize={"mean": list(crop.mean), "std": list(crop.std)},
    )
    loader = DataLoader(
        Views(images, transform),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
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
        if options.epochs is None:
            share = (time.perf_counter() - start) / (60 * options.minutes)
        else:
            share = step * batch_size / (options.epochs * len(images))
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
        "minutes": elapsed_s / 60,
        "steps": step,
        "batch_size": batch_size,
        "views": 2 * seen,
        "epochs": seen / len(images),
        "images_per_s": seen / elapsed_s,
        "last_loss": loss.item(),
    }


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
