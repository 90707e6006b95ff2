"""``quarterturn embed``: features of every image, for use elsewhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.features.extraction import Features, extract
from quarterturn.features.network_features import choose_part
from quarterturn.features.source_pass import run_on_all_splits
from quarterturn.files import atomic_write, write_csv
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing
from quarterturn.runs.output_file import check_out

logger = logging.getLogger(__name__)

SUFFIXES = (".npz", ".csv")


def embed(
    run: Path | str,
    data: Path | str | None = None,
    *,
    out: Path | str,
    half: str | None = None,
    layer: str | None = None,
    max_bad_fraction: float = DataConfig.max_bad_fraction,
    overwrite: bool = False,
    device: str = "auto",
    workers: int = 2,
) -> Path:
    """Write the features of every image, upright, by its centre crop.

    Args:
        run: The run directory.
        data: DATA; by default the run's, all of it, also where the run had a ``--limit``. All
            its splits are embedded.
        out: A file ending in ``.npz`` (arrays ``embeddings`` (n, D) float32, ``names`` and
            ``splits`` (n,) unicode, and ``labels`` (n,) where there are any, with
            ``class_names``; -1 in a split that has none) or ``.csv`` (columns ``name``, ``split``,
            ``label``, ``f0`` ...).
        half: ``invariant`` (the default where the run has halves), ``rotation`` or ``both``.
        layer: A named layer instead of the last; maps are averaged over their area.
        max_bad_fraction: More unreadable image files than this stop it, and nothing is written;
            those left out are listed.
        overwrite: Replace an existing file.
        device: Where to compute.
        workers: Processes that decode files.

    Returns:
        The file.

    Raises:
        ConfigError: The file exists or has another suffix; the run has no halves, or no such layer.
        DataError: There are no images, or too many that cannot be read.
    """
    out = Path(out)
    check_out(out, SUFFIXES, overwrite=overwrite)
    opened = Run.open(run)
    runtime = Runtime(device, "32-true")
    network = opened.load_network().to(runtime.device)
    features, part = choose_part(network, half, layer)

    def model(images: Tensor) -> Tensor:
        return features(images)[part]

    crop = replace(opened.config.data, max_bad_fraction=max_bad_fraction)
    crop.check()
    source = open_source(
        opened.data_or_own(data),
        index=opened.index,
        max_bad_fraction=max_bad_fraction,
        min_images=1,
    )

    def find(images: ImageSet, failed: dict[int, str]) -> Features:
        return extract(images, crop, model, device=runtime.device, workers=workers, failed=failed)

    every, left_out = run_on_all_splits(source, find, max_bad_fraction)
    splits = source.all_splits
    class_names = list(dict.fromkeys(c for images in splits.values() for c in images.class_names))
    names, labels, of_split = [], [], []
    for split, found in every.items():
        names += [splits[split].names[i] for i in found.indices]
        of_split += [split] * len(found.indices)
        of_images = np.full(len(found.indices), -1)
        if found.labels is not None:
            # Splits may number their classes differently: the names are what they share.
            numbers = np.array([class_names.index(name) for name in splits[split].class_names])
            of_images = numbers[found.labels]
        labels.append(of_images)
    embeddings = np.concatenate([found.values for found in every.values()])
    all_labels = np.concatenate(labels) if class_names else None
    _write(out, embeddings, names, of_split, all_labels, class_names)
    what = layer or part
    if left_out:
        logger.warning("\n".join(left_out))
    log_closing(
        f"{len(embeddings):,} images, {embeddings.shape[1]} features each ({what})",
        {"written": out},
        [
            ("neighbors", opened.path, "IMAGE"),
            ("probe", opened.path, "DATA"),
            ("export", opened.path, "--format", "safetensors"),
        ],
    )
    return out


def _write(
    out: Path,
    embeddings: np.ndarray,
    names: list[str],
    splits: list[str],
    labels: np.ndarray | None,
    class_names: list[str],
) -> None:
    if out.suffix == ".npz":
        arrays: Any = {
            "embeddings": embeddings,
            "names": np.array(names),
            "splits": np.array(splits),
        }
        if labels is not None:
            arrays |= {"labels": labels, "class_names": np.array(class_names)}
        with atomic_write(out) as file:
            np.savez(file, **arrays)
        return
    words = [""] * len(names)
    if labels is not None:
        words = ["" if label < 0 else class_names[label] for label in labels]
    write_csv(
        out,
        ["name", "split", "label", *(f"f{i}" for i in range(embeddings.shape[1]))],
        (
            [name, split, word, *row.tolist()]
            for name, split, word, row in zip(names, splits, words, embeddings, strict=True)
        ),
    )
