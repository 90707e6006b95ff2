"""``quarterturn neighbors``: the images of a collection most like one image."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.collection.neighbor_sheet import MOST_SHOWN, contact_sheet, neighbors_table
from quarterturn.config import DataConfig
from quarterturn.data.image_lookup import FoundImage, find_image
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features, extract_parts
from quarterturn.features.nearest_neighbors import nearest_in_splits
from quarterturn.features.network_features import NetworkFeatures, choose_part
from quarterturn.features.pictures import thumbnail
from quarterturn.pages.figures import save_figure
from quarterturn.pages.tables import printable, show
from quarterturn.runs import Run
from quarterturn.runs.output_file import check_out

logger = logging.getLogger(__name__)


def neighbors(
    run: Path | str,
    image: Path | str,
    *,
    data: Path | str | None = None,
    k: int = 10,
    half: str | None = None,
    layer: str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    workers: int = 2,
) -> dict[str, Any]:
    """Find the images whose features have the largest cosine to those of one image.

    Every image is taken upright, by its centre crop. The features of the collection are extracted
    once and cached, memory-mapped, in ``RUN/features``, which ``probe`` shares.

    Args:
        run: The run directory.
        image: An image file, or the name of an image in the collection, as ``embed`` lists it; it
            is then left out of its own neighbours.
        data: The collection; by default the run's, all of it, also where the run had a
            ``--limit``. Its training images and its test split are searched.
        k: How many neighbours.
        half: ``invariant`` (the default where the run has halves), ``rotation`` or ``both``.
        layer: A named layer instead of the last; maps are averaged over their area.
        out: A contact sheet ending in ``.png``; the data behind it are written beside it, ending
            in ``.json``. By default ``RUN/figures/neighbors-<image>.png``, written anew each time.
        overwrite: Replace existing files at ``out``.
        device: Where to compute.
        workers: Processes that decode files.

    Returns:
        The query, the images and features searched, and ``neighbors``, nearest first, each with
        rank, name, split, label (or None) and cosine.

    Raises:
        DataError: There is no such image, or it cannot be read.
        ConfigError: ``out`` exists or is no ``.png``; the run has no halves, or no such layer.
    """
    if k < 1:
        raise ConfigError(f"--k is {k}; expected at least 1")
    if out is not None:
        check_out(Path(out), [".png"], overwrite=overwrite, beside=[".json"])
    opened = Run.open(run)
    crop = opened.config.data
    data = opened.data_or_own(data)
    source = open_source(
        data, index=opened.index, max_bad_fraction=crop.max_bad_fraction, min_images=1
    )
    query = find_image(source, str(image))
    runtime = Runtime(device, "32-true")
    model, part = choose_part(opened.load_network().to(runtime.device), half, layer)
    cache = FeatureCache(opened.path / "features")
    gallery = {
        split: cached_features(images, crop, model, cache, device=runtime.device, workers=workers)[
            part
        ]
        for split, images in source.splits.items()
    }
    values = _features_of(query, gallery, crop, model, part, runtime)
    nearest = nearest_in_splits(gallery, values, k, excluded=query.places)
    searched = sum(len(features.indices) for features in gallery.values())
    result = {
        "run": str(opened.path),
        "data": data,
        "image": query.name,
        "label": _label(query.images, query.index),
        "features": layer or part,
        "left_out": sorted({split for split, _ in query.places}),
        "searched": searched,
        "unreadable": source.num_indexed + len(source.unreadable) - searched,
        "neighbors": [
            {
                "rank": rank,
                "name": source.splits[one.split].names[one.index],
                "split": one.split,
                "label": _label(source.splits[one.split], one.index),
                "cosine": one.cosine,
            }
            for rank, one in enumerate(nearest, start=1)
        ],
    }
    pictures = [thumbnail(query.images, query.index, crop)]
    pictures += [thumbnail(source.splits[n.split], n.index, crop) for n in nearest[:MOST_SHOWN]]
    out = Path(out) if out is not None else opened.figures / f"neighbors-{_stem(query)}.png"
    save_figure(out.parent, contact_sheet(out.stem, result, pictures))
    show(neighbors_table(result))
    logger.info(f"written: {printable(str(out))}")
    return result


def _features_of(
    query: FoundImage,
    gallery: dict[str, Features],
    crop: DataConfig,
    model: NetworkFeatures,
    part: str,
    runtime: Runtime,
) -> NDArray[np.float32]:
    """(d,) features of the query, from the gallery if it has them."""
    for split, index in query.places:
        rows = np.flatnonzero(gallery[split].indices == index)
        if len(rows):
            return gallery[split].values[rows[0]]
    one_image = query.images.subset(np.array([query.index]))
    return extract_parts(one_image, crop, model, device=runtime.device)[part].values[0]


def _label(images: ImageSet, index: int) -> str | None:
    return None if images.labels is None else images.class_names[images.labels[index]]


def _stem(query: FoundImage) -> str:
    """A file stem that differs between images of the same name in several folders."""
    path = Path(query.name)
    if not query.places:
        return path.stem
    return path.with_suffix("").as_posix().strip("/").replace("/", "-")
