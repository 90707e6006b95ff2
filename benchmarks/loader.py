"""How fast images come: ours against torchvision's loader, from JPEGs, a cache, and memory.

Photos are made from those of a folder: JPEGs of 500 x 375 pixels, caches of them with a short side
of 8/7 of the crop's, as evaluation needs it, and an array of 32 x 32. The peer of a cache reads the
JPEGs with as many workers. The peer
is what most people use: ImageFolder, RandomResizedCrop, flip, ToTensor, Normalize and DataLoader,
with as many workers; for images in memory, the same transforms of Pillow images with two workers.
Both give batches of 64 in float32. Each pair is timed in turn over an epoch whose workers have
started, and the ratios are taken round by round, since a machine's speed drifts.

    python benchmarks/loader.py --images PHOTOS --rounds 5

The last line is JSON: the median ratio of each case, how many times as fast as the peer.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

import quarterturn
from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.sources import open_source
from timing import over_rounds

BATCH_SIZE = 64
HEIGHT, WIDTH, QUALITY = 375, 500, 90
SMALL_SIDE, PADDING = 32, 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Epoch = Callable[[], int]
"""Goes through one epoch; returns how many images it gave."""


@dataclass(frozen=True)
class Options:
    """What to time."""

    images: Path
    """Folder of photos to make the images from."""
    rounds: int = 5
    number: int = 1000
    """Images to make."""
    sides: tuple[int, ...] = (128, 224)
    workers: tuple[int, ...] = (0, 2)


def main(options: Options) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="loader-") as made:
        folder = Path(made) / "photos"
        small = make_images(folder, options)
        figures = {
            name: compare(name, ours, peer, options.rounds)
            for name, (ours, peer) in cases(folder, small, options)
        }
        limit = statistics.median(decoding_speed(folder) for _ in range(options.rounds))
    print(f"Pillow decodes, in one process and full size: {limit:,.0f} images/s")
    print(json.dumps(figures))


def make_images(folder: Path, options: Options) -> NDArray[np.uint8]:
    """Write the JPEGs in two classes; returns (number, 32, 32, 3) of the same photos."""
    photos = sorted(p for p in options.images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    small = []
    for number, path in zip(range(options.number), itertools.cycle(photos), strict=False):
        with Image.open(path) as image:
            photo = image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        place = folder / "ab"[number % 2] / f"{number:05d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        photo.save(place, quality=QUALITY)
        small.append(np.asarray(photo.resize((SMALL_SIDE, SMALL_SIDE))))
    return np.stack(small)


def cases(
    folder: Path, small: NDArray[np.uint8], options: Options
) -> Iterator[tuple[str, tuple[Epoch, Epoch]]]:
    """Name of each case, our epoch, and the peer's."""
    files = open_source(str(folder)).train
    for side, workers in itertools.product(options.sides, options.workers):
        resized = transforms.RandomResizedCrop(side, scale=(0.2, 1.0))
        peer = ImageFolder(str(folder), _augmented(resized))
        yield f"jpeg-{side}-{workers}", (_ours(files, side, workers), _theirs(peer, workers))
    for side in options.sides:
        cached = quarterturn.cache(
            folder, out=folder.parent / f"cache-{side}", side=round(side * 8 / 7), workers=0
        )
        images = open_source(str(cached)).train
        peer = ImageFolder(
            str(folder), _augmented(transforms.RandomResizedCrop(side, scale=(0.2, 1.0)))
        )
        workers = max(options.workers)
        yield f"cache-{side}-{workers}", (_ours(images, side, workers), _theirs(peer, workers))
    arrays = ArrayImages(small, [str(i) for i in range(len(small))])
    for kind, crop, padding in (
        ("resized", transforms.RandomResizedCrop(SMALL_SIDE, scale=(0.2, 1.0)), 0),
        ("padded", transforms.RandomCrop(SMALL_SIDE, padding=PADDING), PADDING),
    ):
        theirs = _theirs(_InMemory(small, _augmented(crop)), 2)
        yield f"memory-{SMALL_SIDE}-{kind}", (_ours(arrays, SMALL_SIDE, 0, padding), theirs)


def compare(name: str, ours: Epoch, peer: Epoch, rounds: int) -> dict[str, Any]:
    """Print one case; returns the speeds and their ratio."""
    speeds = [(_images_a_second(ours), _images_a_second(peer)) for _ in range(rounds + 1)][1:]
    ratios = [one / other for one, other in speeds]
    fast, slow = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = over_rounds(ratios)
    print(
        f"{name:<18} {fast:9,.0f} images/s, torchvision {slow:7,.0f}: {ratio['median']:.2f} times "
        f"as fast ({min(ratios):.2f} to {max(ratios):.2f}, n = {rounds})",
        flush=True,
    )
    return {"images_per_s": fast, "torchvision_images_per_s": slow, "ratio": ratio}


def decoding_speed(folder: Path) -> float:
    """Images a second that Pillow decodes, and nothing else."""
    paths = sorted(folder.rglob("*.jpg"))[:200]
    start = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            image.load()
    return len(paths) / (time.perf_counter() - start)


def _images_a_second(epoch: Epoch) -> float:
    start = time.perf_counter()
    num_images = epoch()
    return num_images / (time.perf_counter() - start)


def _ours(images: ImageSet, side: int, workers: int, padding: int = 0) -> Epoch:
    crop = DataConfig(image_size=side, crop_padding=padding, mean=MEAN, std=STD)
    batches = TrainingBatches(images, crop, batch_size=BATCH_SIZE, seed=0, workers=workers)
    epochs = itertools.count()
    return lambda: _count(batch.images for batch in batches.epoch(next(epochs)))


def _theirs(images: Dataset, workers: int) -> Epoch:
    loader = DataLoader(
        images, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: _count(batch[0] for batch in loader)


def _count(batches: Iterable[torch.Tensor]) -> int:
    """Take every batch; looking at one value of each waits for it."""
    return sum(len(batch) + 0 * int(batch[0, 0, 0, 0]) for batch in batches)


def _augmented(crop: Callable[[Image.Image], Image.Image]) -> transforms.Compose:
    return transforms.Compose(
        [
            crop,
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class _InMemory(Dataset):
    """As torchvision's CIFAR10 has it: an array, of which each image becomes a Pillow image."""

    def __init__(self, pixels: NDArray[np.uint8], transform: transforms.Compose) -> None:
        self.pixels, self.transform = pixels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), 0


if __name__ == "__main__":
    main(tyro.cli(Options))
