"""How fast a detector trains and tests: ours beside torchvision's Faster R-CNN.

Same backbone (ResNet-18), same images of one size in memory, same batches of two, float32. Ours is
Fast R-CNN, whose proposals are given (here at random), with 64 regions of an image in a step and
1,000 in a test. Theirs is `torchvision.models.detection.FasterRCNN` on a feature pyramid of that
ResNet-18, with its defaults: 512 regions of an image in a step, 1,000 in a test. So the two do not
do the same work: the ratio says what a user waits for. The two are timed in turn, and the ratio is
taken round by round, since a machine's speed drifts.

    python benchmarks/detection.py --side 300 --rounds 3

The last line is JSON: images a second of both, and the median ratios, ours over theirs.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from torch import Tensor
from torchvision.models.detection import FasterRCNN as TheirDetector
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from quarterturn.data.region_batches import RegionBatch
from quarterturn.methods.fast_rcnn import FastRCNN, RegionClassification
from quarterturn.models.registry import build_backbone
from quarterturn.presets import preset

CLASSES = 20
TRAINED_ON, TESTED_ON = 64, 1000


@dataclass(frozen=True)
class Options:
    """What to time."""

    side: int = 600
    """Short side of the images in pixels; the long side is four thirds of it."""
    rounds: int = 5
    steps: int = 1
    """Steps, and test images, in a round."""
    device: str = "cpu"


def random_boxes(number: int, height: int, width: int, device: str) -> Tensor:
    """(n, 4) boxes of a fifth to a half of an image's sides."""
    sizes = (0.2 + 0.3 * torch.rand(number, 2)) * torch.tensor([width, height])
    corners = torch.rand(number, 2) * (torch.tensor([width, height]) - 1 - sizes)
    return torch.cat([corners, corners + sizes], dim=1).to(device)


def ours(options: Options, images: Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step on both images, and a test of the first."""
    _, _, height, width = images.shape
    network = FastRCNN(build_backbone("resnet18", 224), CLASSES).to(options.device)
    network.freeze("layer1", statistics=True)
    method = RegionClassification(network)
    recipe = preset("voc07-fast-rcnn").optimizer
    optimizer = torch.optim.SGD(network.parameters(), recipe.learning_rate, recipe.momentum)
    boxes = tuple(random_boxes(TRAINED_ON, height, width, options.device) for _ in images)
    numbers = torch.arange(TRAINED_ON, device=options.device) % (CLASSES + 1)
    batch = RegionBatch(
        torch.arange(len(images), device=options.device),
        images,
        ((height, width),) * len(images),
        boxes,
        (numbers,) * len(images),
        (torch.zeros(TRAINED_ON, 4, device=options.device),) * len(images),
        (),
        (),
    )
    proposals = random_boxes(TESTED_ON, height, width, options.device)

    def step() -> None:
        network.train()
        optimizer.zero_grad(set_to_none=True)
        torch.stack([*method.losses(network, batch, 0).terms.values()]).sum().backward()
        optimizer.step()

    def test() -> None:
        network.eval()
        network.predict(images[0], proposals)

    return step, test


def theirs(options: Options, images: Tensor) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same of torchvision's Faster R-CNN."""
    _, _, height, width = images.shape
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=4)
    detector = TheirDetector(
        backbone, CLASSES + 1, min_size=min(height, width), max_size=max(height, width)
    ).to(options.device)
    optimizer = torch.optim.SGD(detector.parameters(), 0.001, 0.9)
    targets = [
        {
            "boxes": random_boxes(8, height, width, options.device),
            "labels": torch.arange(8, device=options.device) + 1,
        }
        for _ in images
    ]

    def step() -> None:
        detector.train()
        optimizer.zero_grad(set_to_none=True)
        torch.stack([*detector(list(images), targets).values()]).sum().backward()
        optimizer.step()

    @torch.no_grad()
    def test() -> None:
        detector.eval()
        detector([images[0]])

    return step, test


def images_per_s(work: Callable[[], None], images: int, options: Options) -> float:
    """How many images a second some work handles."""
    begin_s = time.perf_counter()
    for _ in range(options.steps):
        work()
    if options.device != "cpu":
        torch.accelerator.synchronize()
    return images * options.steps / (time.perf_counter() - begin_s)


def main(options: Options) -> None:
    """Time both, print a line for each, and the ratios as JSON."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, options.side, round(options.side * 4 / 3), device=options.device)
    both = {"quarterturn": ours(options, images), "torchvision": theirs(options, images)}
    for work in both.values():
        for warm in work:
            warm()
    found: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in both} for kind in ("training", "test")
    }
    for _ in range(options.rounds):
        for name, (step, test) in both.items():
            found["training"][name].append(images_per_s(step, len(images), options))
            found["test"][name].append(images_per_s(test, 1, options))
    record: dict[str, float] = {}
    for kind, by_name in found.items():
        pairs = zip(by_name["quarterturn"], by_name["torchvision"], strict=True)
        record[f"{kind}_ratio"] = statistics.median(one / other for one, other in pairs)
        for name, values in by_name.items():
            record[f"{kind}_{name}_images_per_s"] = statistics.median(values)
            print(f"{kind}, {name}: {statistics.median(values):.2f} images a second")
    print(json.dumps(record))


if __name__ == "__main__":
    main(tyro.cli(Options))
