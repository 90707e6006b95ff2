"""How many photos that are stored turned ``quarterturn orient`` finds, and how many are right.

python benchmarks/stored_turned.py make PHOTOS OUT             # a copy, of which 10 % are turned
python benchmarks/stored_turned.py mix PHOTOS TEXTURES OUT     # with copies, textures, broken files
quarterturn upright OUT/images --out RUN
quarterturn orient RUN
python benchmarks/stored_turned.py measure OUT RUN/orient.csv

``make`` turns the pixels, not the EXIF tag, and writes every image anew in the same way, so that
nothing but what is seen tells the turned ones. ``mix`` is a folder as people have them: 2,000
photos of which 120 are stored turned, 20 exact copies, 20 smaller ones, 60 turned and recompressed
ones, 15 textures, a black frame and 6 broken files.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from quarterturn.data.sources import open_source
from quarterturn.pages.tables import Table

TURNS = [None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
CONFIDENCES = (0.5, 0.8, 0.9, 0.95)


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


def mix(photos: Path, textures: Path, out: Path, seed: int) -> None:
    draw, folder = random.Random(seed), out / "images"
    turns: dict[str, int] = {}
    copies: dict[str, list[str]] = {}

    def save(image: Image.Image, name: str, quality: int) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, quality=quality)

    files = sorted(photos.rglob("*.jpg"))
    draw.shuffle(files)
    files = files[:2000]
    names = [f"{file.parent.name}/{file.name}" for file in files]
    turned = set(draw.sample(range(len(files)), 120))
    for i, (file, name) in enumerate(zip(files, names, strict=True)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if i in turned:
            turns[name] = draw.choice([1, 2, 3])
            save(Image.open(file).rotate(90 * turns[name], expand=True), name, 92)
        else:
            shutil.copy(file, folder / name)
    rest = [i for i in range(len(files)) if i not in turned]
    draw.shuffle(rest)
    for j, i in enumerate(rest[:100]):
        group, image = files[i].parent.name, Image.open(files[i]).convert("RGB")
        if j < 20:
            name = f"{group}/copy_{j}.jpg"
            shutil.copy(files[i], folder / name)
            copies[name] = [names[i], "exact"]
        elif j < 40:
            smaller = image.resize((int(image.width * 0.7), int(image.height * 0.7)))
            name = f"{group}/near_{j}.jpg"
            save(smaller, name, 60)
            copies[name] = [names[i], "near"]
        else:
            name = f"{group}/rot_{j}.jpg"
            turns[name] = draw.choice([1, 2, 3])
            save(image.rotate(90 * turns[name], expand=True), name, 75)
            copies[name] = [names[i], "turned"]
    others = sorted(textures.rglob("*.jpg"))
    draw.shuffle(others)
    group = sorted({Path(name).parts[0] for name in names})[0]
    for j, file in enumerate(others[:15]):
        shutil.copy(file, folder / group / f"tex_{j}.jpg")
    save(Image.new("RGB", (256, 256)), f"{group}/black.jpg", 75)
    for j in range(6):
        broken = files[j].read_bytes()[: 200 + 400 * j] if j else b""
        (folder / group / f"broken_{j}.jpg").write_bytes(broken)
    (out / "turns.json").write_text(json.dumps(turns))
    (out / "copies.json").write_text(json.dumps(copies))
    print(f"{len(turns)} images are stored turned: {out}")


def measure(out: Path, table: Path) -> None:
    truth = json.loads((out / "turns.json").read_text())
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["probability"]]
    stored = np.array([truth.get(row["path"], 0) for row in rows])
    told = np.array([-int(row["turn_degrees"]) // 90 % 4 for row in rows])
    sure = np.array([float(row["probability"]) for row in rows])
    is_turned = np.char.startswith(np.array([row["verdict"] for row in rows]), "turn")
    shown: list[list[str | float | None]] = []
    for confidence in CONFIDENCES:
        listed = (told > 0) & (sure >= confidence)
        shown.append(_row(f"from {confidence:.0%}", listed, told == stored, stored > 0))
    shown.append(_row("turned by orient", is_turned, told == stored, stored > 0))
    found = Table(
        f"{(stored > 0).sum():,} of {len(stored):,} images stored turned",
        ["turns", "listed", "right", "precision", "recall"],
        shown,
    )
    Console(width=120).print(found)
    print(json.dumps(found.to_dict()))


def _row(
    name: str, listed: np.ndarray, is_right: np.ndarray, is_stored_turned: np.ndarray
) -> list[str | float | None]:
    right = int((listed & is_right).sum())
    number = int(listed.sum())
    return [name, number, right, right / max(1, number), right / max(1, is_stored_turned.sum())]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("photos", type=Path)
    making.add_argument("out", type=Path)
    making.add_argument("--share", type=float, default=0.1)
    making.add_argument("--seed", type=int, default=0)
    mixing = commands.add_parser("mix")
    mixing.add_argument("photos", type=Path)
    mixing.add_argument("textures", type=Path)
    mixing.add_argument("out", type=Path)
    mixing.add_argument("--seed", type=int, default=21)
    measuring = commands.add_parser("measure")
    measuring.add_argument("out", type=Path)
    measuring.add_argument("table", type=Path)
    given = arguments.parse_args()
    if given.command == "make":
        make(given.photos, given.out, given.share, given.seed)
    elif given.command == "mix":
        mix(given.photos, given.textures, given.out, given.seed)
    else:
        measure(given.out, given.table)


if __name__ == "__main__":
    main()
