"""Finding the files of a large collection: ours against torchvision's ImageFolder.

ImageFolder lists names and labels, and nothing else; an opening here reads the headers of a sample
too, a second one takes these from the index, and a fingerprint asks each file for its size in bytes
and its times. The files are empty, so that a million of them take no room: their headers are made
up.

Each is run in a process of its own, in turn, and the ratios are taken round by round, since a
machine's speed drifts. The system has the folders in memory by then: on a cold disk or over a
network all of them take longer.

    python benchmarks/indexing.py --files 1000000 --classes 1000
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import tyro
from torchvision.datasets import ImageFolder

from quarterturn.data import header_index
from quarterturn.data.folder import index_folder, list_images
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.imageset import FileImages
from timing import over_rounds

SIDE = 256
"""The made-up height and width."""


@dataclass(frozen=True)
class Options:
    """What to make and to find."""

    files: int = 1_000_000
    classes: int = 1000
    rounds: int = 3
    parent: Path = Path(tempfile.gettempdir())
    """Where a folder for the files is made; it is deleted in the end."""


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory(dir=options.parent, prefix="indexing-") as made:
        photos, kept = Path(made) / "photos", Path(made) / "index"
        make_files(photos, options)
        _apart(write_index, photos, kept)
        openings = {
            "ImageFolder: names and labels": image_folder,
            "our listing: names": our_listing,
            "our first opening: names, labels, a sample of headers": our_first_opening,
            "our second opening: the sample from the index": our_second_opening,
            "the same, and the fingerprint: all sizes in bytes": our_fingerprint,
        }
        rounds = [
            {name: _apart(opening, photos, kept) for name, opening in openings.items()}
            for _ in range(options.rounds)
        ]
        size = sum(file.stat().st_size for file in kept.iterdir()) / 1e6
    peer = next(iter(openings))
    print(
        f"{options.files:,} empty files in {options.classes:,} folders, n = {options.rounds}; the "
        f"index takes {size:.0f} MB"
    )
    figures = {}
    for name in openings:
        ratios = [of_round[name][0] / of_round[peer][0] for of_round in rounds]
        figures[name] = {
            "seconds": statistics.median(r[name][0] for r in rounds),
            "relative": over_rounds(ratios),
            "memory_mb": statistics.median(r[name][1] for r in rounds),
        }
        print(
            f"  {name:<52} {statistics.median(r[name][0] for r in rounds):7.2f} s, "
            f"{statistics.median(ratios):.2f} of ImageFolder ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), {statistics.median(r[name][1] for r in rounds):5.0f} MB at most"
        )
    print(json.dumps(figures))


def make_files(photos: Path, options: Options) -> None:
    for number in range(options.classes):
        folder = photos / f"n{number:08d}"
        folder.mkdir(parents=True)
        for image in range(number, options.files, options.classes):
            (folder / f"n{number:08d}_{image}.JPEG").touch()


def image_folder(photos: Path, kept: Path) -> int:
    return len(ImageFolder(str(photos)))


def our_listing(photos: Path, kept: Path) -> int:
    return len(list_images(photos)[0])


def our_first_opening(photos: Path, kept: Path) -> int:
    return len(_opened(photos, HeaderIndex("photos")))


def our_second_opening(photos: Path, kept: Path) -> int:
    return len(_opened(photos, HeaderIndex("photos", kept)))


def our_fingerprint(photos: Path, kept: Path) -> int:
    return len(_opened(photos, HeaderIndex("photos", kept)).fingerprint())


def write_index(photos: Path, kept: Path) -> int:
    index = HeaderIndex("photos")
    images = _opened(photos, index)
    index.keep(kept)
    return len(images)


def _opened(photos: Path, index: HeaderIndex) -> FileImages:
    header_index.read_size = lambda path: (SIDE, SIDE)  # an empty file has no header
    return index_folder(photos, index).images


def _apart(opening: Callable[[Path, Path], int], photos: Path, kept: Path) -> tuple[float, float]:
    """Seconds, and peak memory in MB beyond what the process has by its imports."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_timed, opening, photos, kept).result()


def _timed(opening: Callable[[Path, Path], int], photos: Path, kept: Path) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    opening(photos, kept)
    elapsed_s = time.perf_counter() - start
    return elapsed_s, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


if __name__ == "__main__":
    main(tyro.cli(Options))
