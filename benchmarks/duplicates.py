"""How many copies ``quarterturn duplicates`` finds, how many it lists wrongly, and its time.

python benchmarks/stored_turned.py mix PHOTOS TEXTURES OUT
quarterturn duplicates OUT/images --out duplicates.csv
python benchmarks/duplicates.py measure OUT duplicates.csv
python benchmarks/duplicates.py imagededup OUT                # its perceptual hash, if it is there
python benchmarks/duplicates.py time 100000                   # random pictures, without decoding

A copy is found if the photo that it was made of is in its group. It is wrong if that photo is not.
Copies that the photos hold already are counted apart; look at them on the page.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console

from quarterturn.copies.duplicate_groups import EXACT, NEAR, TURNED, duplicate_groups
from quarterturn.pages.tables import Table

SIDE = 32
SHARE_OF_COPIES = 0.1


def show(title: str, groups: Iterable[list[str]], truth: dict[str, list[str]]) -> None:
    """Print how many of the true copies are in a group with their photo."""
    found, wrong, own = Counter[str](), Counter[str](), 0
    for group in groups:
        own += max(0, sum(name not in truth for name in group) - 1)
        for name in group:
            if name in truth:
                photo, kind = truth[name]
                (found if photo in group else wrong)[kind] += 1
    rows: list[list[str | float | None]] = []
    for kind in (EXACT, NEAR, TURNED):
        copies = sum(made == kind for _, made in truth.values())
        listed = found[kind] + wrong[kind]
        precision = found[kind] / listed if listed else None
        rows.append([kind, copies, found[kind], found[kind] / copies, precision])
    shown = Table(
        f"{title}: {own} more images in groups, of photos alike in the collection",
        ["copies", "number", "found", "recall", "precision"],
        rows,
    )
    Console(width=120).print(shown)
    print(json.dumps(shown.to_dict()))


def measure(out: Path, table: Path) -> None:
    groups: dict[str, list[str]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["group"]:
                groups.setdefault(row["group"], []).append(row["path"])
    show("duplicates", groups.values(), json.loads((out / "copies.json").read_text()))


def measure_imagededup(out: Path) -> None:
    from imagededup.methods import PHash

    folder = out / "images"
    began = time.perf_counter()
    hashes = PHash(verbose=False).encode_images(str(folder), recursive=True, num_enc_workers=0)
    found = PHash(verbose=False).find_duplicates(encoding_map=hashes, num_dist_workers=0)
    print(f"{time.perf_counter() - began:.1f} s")
    truth = json.loads((out / "copies.json").read_text())
    # A copy with what the hash finds for it; of the photos each pair once.
    groups = [[name, *found[name]] for name in truth if found.get(name)]
    photos = {name for name in found if name not in truth}
    groups += [[a, b] for a in sorted(photos) for b in found[a] if b in photos and a < b]
    show("imagededup, PHash", groups, truth)


def measure_time(number: int) -> None:
    random = np.random.default_rng(0)
    pixels = np.empty((number, SIDE, SIDE, 3), np.uint8)
    for place in range(number):
        coarse = random.integers(0, 256, (SIDE // 4, SIDE // 4, 3))
        fine = random.normal(0, 12, (SIDE, SIDE, 3))
        pixels[place] = np.clip(coarse.repeat(4, 0).repeat(4, 1) + fine, 0, 255)
    copies = random.choice(number, round(SHARE_OF_COPIES * number), replace=False)
    for copy, turns in zip(copies, random.integers(0, 4, len(copies)), strict=True):
        pixels[copy] = np.rot90(pixels[copy - 1], turns)
    keys = [b"%d" % place for place in range(number)]
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    groups = duplicate_groups(pixels, keys, np.arange(number))
    shown = Table(
        f"{number:,} pictures of {SIDE} px, one in ten a copy",
        ["measure", "value"],
        [
            ["groups", len(groups)],
            ["seconds", time.perf_counter() - began_s],
            ["processor seconds", time.process_time() - began_cpu_s],
            ["peak memory, GB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6],
        ],
        plain=("value",),
    )
    Console(width=120).print(shown)
    print(json.dumps(shown.to_dict()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("out", type=Path)
    measuring.add_argument("table", type=Path)
    peer = commands.add_parser("imagededup")
    peer.add_argument("out", type=Path)
    timing = commands.add_parser("time")
    timing.add_argument("number", type=int)
    given = arguments.parse_args()
    if given.command == "measure":
        measure(given.out, given.table)
    elif given.command == "imagededup":
        measure_imagededup(given.out)
    else:
        measure_time(given.number)


if __name__ == "__main__":
    main()
