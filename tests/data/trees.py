"""Small folders in the layouts of ImageNet and Places205."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from .pictures import save_photo

IDS = {"n03": 1, "n01": 2, "n02": 3}
"""ILSVRC2012_ID, which is not the order of the WordNet ids."""
GROUND_TRUTH = [3, 3, 1, 2, 1, 2, 3, 1, 2]


def write_train(root: Path) -> Path:
    for seed, wnid in enumerate(IDS):
        for i in (10, 2, 1):
            save_photo(root / "train" / wnid / f"{wnid}_{i}.JPEG", 10 * seed + i, 20 + i, 30)
    return root


def write_devkit(root: Path, truth: list[int] = GROUND_TRUTH) -> Path:
    """The development kit as unpacked, with a concept above the classes."""
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    fields = [
        ("ILSVRC2012_ID", "O"),
        ("WNID", "O"),
        ("words", "O"),
        ("gloss", "O"),
        ("num_children", "O"),
        ("children", "O"),
        ("wordnet_height", "O"),
        ("num_train_images", "O"),
    ]
    rows = [(i, wnid, f"{wnid}, it", "a thing", 0, [], 0, 3) for wnid, i in IDS.items()]
    rows.append((4, "n00", "entity", "all things", 3, [1, 2, 3], 1, 0))
    savemat(kit / "meta.mat", {"synsets": np.array(rows, dtype=fields)[:, None]})
    lines = "".join(f"{n}\n" for n in truth)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
    return root


def wnids_of_truth() -> list[str]:
    wnid_of = {number: wnid for wnid, number in IDS.items()}
    return [wnid_of[number] for number in GROUND_TRUTH]


def write_val(root: Path, *, nested: bool = False) -> Path:
    for i, wnid in enumerate(wnids_of_truth()):
        folder = root / "val" / (wnid if nested else "")
        save_photo(folder / f"ILSVRC2012_val_{i + 1:08d}.JPEG", 50 + i, 20, 30)
    return root


FOLDER_OF = {0: "a/abbey", 1: "a/apartment_building/outdoor", 7: "b/bar"}
IMAGES = "data/vision/torralba/deeplearning/images256"


def write_places(root: Path) -> dict[str, list[tuple[str, int]]]:
    """Both lists, in no order of names, and their images; returns what they list."""
    (root / "trainvalsplit_places205").mkdir(parents=True)
    listed: dict[str, list[tuple[str, int]]] = {}
    for split, number in (("train", 12), ("val", 6)):
        rows = [
            (f"{FOLDER_OF[label]}/gsun_{split}_{99 - i}.jpg", label)
            for i, label in zip(range(number), [7, 0, 1, 0] * 3, strict=False)
        ]
        for seed, (name, _) in enumerate(rows):
            save_photo(root / IMAGES / name, seed, 16, 20 + seed)
        write_list(root, split, rows)
        listed[split] = rows
    return listed


def write_list(root: Path, split: str, rows: list[tuple[str, int]]) -> Path:
    file = root / "trainvalsplit_places205" / f"{split}_places205.csv"
    file.write_text("".join(f"{name} {label}\n" for name, label in rows))
    return file
