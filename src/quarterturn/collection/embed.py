"""``quarterturn embed``: features of every image, for use elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from quarterturn.collection.embeddings import Embeddings, join_splits
from quarterturn.collection.embeddings_table import require_pyarrow, write_parquet
from quarterturn.collection.options import EmbedOptions
from quarterturn.config.options import take_options
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import NO_FEATURES, Features
from quarterturn.features.run_cache import run_cache
from quarterturn.features.run_features import features_of_run
from quarterturn.features.source_pass import run_on_all_splits
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.output_file import check_out
from quarterturn.weights.weights_as_run import as_run

SUFFIXES = (".npz", ".csv", ".parquet")


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
        known. ``.csv`` has the columns ``name``, ``split``, ``label``, ``f0`` ... ``.parquet`` is
        described in `quarterturn.collection.embeddings_table`.

    Raises:
        ConfigError: The file exists or has another suffix; the run has no such half or layer;
            pyarrow, which writes ``.parquet``, is not installed.
        DataError: There are no images, or too many that cannot be read.
    """
    options = take_options(EmbedOptions, options, fields)
    out = options.out
    check_out(out, SUFFIXES, overwrite=options.overwrite)
    if out.suffix == ".parquet":
        require_pyarrow(out)
    opened = Run.open(as_run(run, data, download=options.download))
    place = opened.data_or_own(data)
    with Runtime(options.device, "32-true") as runtime:
        embeddings, unreadable = embed_collection(opened, place, options, runtime)
    if embeddings is None:
        return out
    if out.suffix == ".npz":
        embeddings.write_npz(out)
    elif out.suffix == ".csv":
        embeddings.write_csv(out)
    else:
        write_parquet(out, embeddings, opened, place)
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


def embed_collection(
    run: Run, data: str, options: EmbedOptions, runtime: Runtime
) -> tuple[Embeddings | None, dict[str, str]]:
    """The features, which only the main process is given, and what could not be read.

    Args:
        run: The run.
        data: DATA, all splits of which are embedded.
        options: Which features; ``out`` is not written.
        runtime: Where to compute.
    """
    model, part = features_of_run(run, runtime.device, options.half, options.layer)
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
    return join_splits(by_split, source, options.layer or part), unreadable
