"""How many photos that are stored turned ``quarterturn upright`` finds.

python benchmarks/stored_turned.py make PHOTOS OUT      # a copy, of which 10 % are stored turned
quarterturn upright OUT/images --out RUN
python benchmarks/stored_turned.py measure OUT RUN

``make`` turns the pixels, not the EXIF tag, and writes every image anew in the same way, so that
nothing but what is seen tells the turned ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from quarterturn.data.sources import open_source
from quarterturn.orientation.scores import probably_turned, stored_turns
from quarterturn.orientation.upright_table import FILE, UprightTable
from quarterturn.pages.tables import Table

TURNS = [None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
COVERAGES = (1.0, 0.9, 0.8)


def make(photos: Path, out: Path, share: float, seed: int) -> None:
    images = open_source(str(photos)).train
    random = np.random.default_rng(seed)
    turns = np.zeros(len(images), dtype=np.int64)
    chosen = random.choice(len(images), round(share * len(images)), replace=False)
    turns[chosen] = random.integers(1, 4, len(chosen))
    for i, name in enumerate(images.names):
        image, turn = images.read(i), TURNS[turns[i]]
        path = (out / "images" / name).with_suffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        (image if turn is None else image.transpose(turn)).save(path, quality=95)
    names = [str(Path(name).with_suffix(".jpg")) for name in images.names]
    (out / "turns.json").write_text(json.dumps(dict(zip(names, turns.tolist(), strict=True))))
    print(f"{len(chosen)} of {len(images)} images are stored turned: {out}")


def measure(out: Path, run: Path) -> None:
    table = UprightTable.read(run / FILE)
    truth = json.loads((out / "turns.json").read_text())
    stored = np.array([truth[name] for name in table.names])
    # What brings an image upright is the rest of a whole turn.
    to_upright = -stored % 4
    listed = probably_turned(table.p_upright)
    found = (listed > 0) & (stored > 0)
    by_turn = stored_turns(table.probabilities)
    confidence, told = by_turn.max(axis=1), -by_turn.argmax(axis=1) % 4
    order = np.argsort(-confidence, kind="stable")
    rows: list[list[str | float | None]] = [
        ["probably turned: precision", float(found.sum() / max(1, (listed > 0).sum()))],
        ["probably turned: recall", float(found.sum() / (stored > 0).sum())],
        ["the turn of those found is right", float((listed == to_upright)[found].mean())],
    ]
    for coverage in COVERAGES:
        surest = order[: round(coverage * len(order))]
        right = (told == to_upright)[surest]
        of_turned = right[stored[surest] > 0]
        rows.append([f"orient, surest {coverage:.0%}", float(right.mean())])
        rows.append([f"orient, surest {coverage:.0%}, stored turned", float(of_turned.mean())])
    shown = Table(
        f"{(stored > 0).sum():,} of {len(stored):,} images stored turned; {(listed > 0).sum():,} "
        "listed as probably turned",
        ["measure", "value"],
        rows,
    )
    Console(width=120).print(shown)
    print(json.dumps(shown.to_dict()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("photos", type=Path)
    making.add_argument("out", type=Path)
    making.add_argument("--share", type=float, default=0.1)
    making.add_argument("--seed", type=int, default=0)
    measuring = commands.add_parser("measure")
    measuring.add_argument("out", type=Path)
    measuring.add_argument("run", type=Path)
    given = arguments.parse_args()
    if given.command == "make":
        make(given.photos, given.out, given.share, given.seed)
    else:
        measure(given.out, given.run)


if __name__ == "__main__":
    main()
