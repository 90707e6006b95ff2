"""``quarterturn embed``: features of every image, for use elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.collection.options import EmbedOptions
from quarterturn.config.options import take_options
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import renumbered, words_of
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import NO_FEATURES, Features
from quarterturn.features.network_features import choose_part
from quarterturn.features.run_cache import run_cache
from quarterturn.features.source_pass import run_on_all_splits
from quarterturn.files import atomic_write, write_csv
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.output_file import check_out
from quarterturn.weights.start import taking_weights

SUFFIXES = (".npz", ".csv")


@taking_weights
def embed(
    run: Path | str,
    data: Path | str | None = None,
    options: EmbedOptions | None = None,
    **fields: Any,
) -> Path:
    """Write the features of every image, upright, by its centre crop.

    Several processes share the images; the first one writes the file.

    Args:
        run: The run directory, a file of weights, or ``timm:NAME``.
        data: DATA; by default the run's, all of it, also where the run had a ``--limit``. All
            its splits are embedded.
        options: Which features, and to which file; ``out`` has no default.
        **fields: Fields of `EmbedOptions`, in place of ``options`` or of some of its values.

    Returns:
        The file: ``.npz`` has the arrays ``embeddings`` (n, D) float32, ``names`` and ``splits``
        (n,) unicode, and ``labels`` (n,) where there are any, with ``class_names``; -1 in a split
        that has none. Of images with several labels, ``labels`` is (n, C): 1, 0, or -1 where not
        known. ``.csv`` has the columns ``name``, ``split``, ``label``, ``f0`` ...

    Raises:
        ConfigError: The file exists or has another suffix; the run has no halves, or no such layer.
        DataError: There are no images, or too many that cannot be read.
    """
    options = take_options(EmbedOptions, options, fields)
    out = options.out
    check_out(out, SUFFIXES, overwrite=options.overwrite)
    opened = Run.open(run)
    runtime = Runtime(options.device, "32-true")
    try:
        embeddings, unreadable = _embed(opened, opened.data_or_own(data), options, runtime)
    finally:
        runtime.close()
    if embeddings is None:
        return out
    embeddings.write(out)
    log_unreadable(unreadable)
    num_images, width = embeddings.values.shape
    collection = [] if data is None else ["--data", data]
    log_closing(
        f"{num_images:,} images, {width} features each ({embeddings.part})",
        {"features": out},
        [
            ("neighbors", opened.path, embeddings.names[0], *collection),
            ("probe", opened.path, opened.data_or_own(data)),
            ("export", opened.path, "--format", "safetensors"),
        ],
    )
    return out


def _embed(
    run: Run, data: str, options: EmbedOptions, runtime: Runtime
) -> tuple[Embeddings | None, dict[str, str]]:
    """The features, which only the main process is given, and what could not be read."""
    model, part = choose_part(run.load_network().to(runtime.device), options.half, options.layer)
    reading = options.reading_as(run.config.data)
    crop = replace(run.config.data, **reading)
    source = open_source(data, index=run.index, min_images=1, **reading)
    source.log_summary(uses_all=True)

    with run_cache(run, is_main=runtime.is_main) as cache:

        def extract_split(images: ImageSet, failed: dict[int, str]) -> Features:
            found = cached_features(
                images,
                crop,
                model,
                cache,
                device=runtime.device,
                workers=options.num_workers,
                failed=failed,
                runtime=runtime,
            )
            return found.get(part, NO_FEATURES)

        by_split, unreadable = run_on_all_splits(
            "embed", source, extract_split, crop.max_bad_fraction, is_main=runtime.is_main
        )
    if not runtime.is_main:
        return None, {}
    return _join_splits(by_split, source.all_splits, options.layer or part), unreadable


@dataclass(frozen=True)
class Embeddings:
    """Features of the images of all splits.

    Attributes:
        values: (n, D) features.
        names: (n,) image names.
        splits: (n,) split of each image.
        labels: (n,) numbers in ``class_names``, -1 in a split without labels; (n, C) label sets,
            where images have several; None if no split has labels.
        class_names: Names of the classes of all splits.
        part: Which features they are.
    """

    values: NDArray[np.float32]
    names: list[str]
    splits: list[str]
    labels: NDArray[np.integer[Any]] | None
    class_names: list[str]
    part: str

    def write(self, out: Path) -> None:
        """Write a ``.npz`` or ``.csv`` file; see `embed`."""
        if out.suffix == ".npz":
            arrays: dict[str, Any] = {
                "embeddings": self.values,
                "names": np.array(self.names),
                "splits": np.array(self.splits),
            }
            if self.labels is not None:
                arrays |= {"labels": self.labels, "class_names": np.array(self.class_names)}
            with atomic_write(out) as file:
                np.savez(file, **arrays)
            return
        words = [""] * len(self.names)
        if self.labels is not None and self.labels.ndim == 2:
            words = [words_of(row, self.class_names) for row in self.labels]
        elif self.labels is not None:
            words = ["" if label < 0 else self.class_names[label] for label in self.labels]
        columns = ["name", "split", "label", *(f"f{i}" for i in range(self.values.shape[1]))]
        rows = zip(self.names, self.splits, words, self.values, strict=True)
        write_csv(out, columns, ([*facts, *values.tolist()] for *facts, values in rows))


def _join_splits(
    by_split: dict[str, Features], splits: dict[str, ImageSet], part: str
) -> Embeddings:
    class_names = list(dict.fromkeys(c for images in splits.values() for c in images.class_names))
    has_several = any(images.label_sets is not None for images in splits.values())
    names: list[str] = []
    split_of_image: list[str] = []
    labels = []
    for split, features in by_split.items():
        names += [splits[split].names[i] for i in features.indices]
        split_of_image += [split] * len(features.indices)
        # Splits may number their classes differently, but share their names.
        own_names = splits[split].class_names
        if features.labels is None:
            shape = (len(features.indices), len(class_names))
            labels.append(np.full(shape if has_several else shape[:1], -1))
        elif has_several:
            labels.append(renumbered(features.labels, own_names, class_names))
        else:
            numbers = np.array([class_names.index(name) for name in own_names])
            labels.append(numbers[features.labels])
    return Embeddings(
        np.concatenate([features.values for features in by_split.values()]),
        names,
        split_of_image,
        np.concatenate(labels) if class_names else None,
        class_names,
        part,
    )
