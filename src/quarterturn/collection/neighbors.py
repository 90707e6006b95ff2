"""``quarterturn neighbors``: the images of a collection most like one image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.collection.neighbor_sheet import MOST_SHOWN, contact_sheet, neighbors_table
from quarterturn.collection.options import NeighborsOptions
from quarterturn.config import DataConfig
from quarterturn.config.options import take_options
from quarterturn.data.image_lookup import FoundImage, find_image
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import words_of
from quarterturn.data.sources import open_source
from quarterturn.data.unreadable import check_unreadable
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features, extract_parts
from quarterturn.features.nearest_neighbors import nearest_in_splits
from quarterturn.features.network_features import NetworkFeatures, choose_part
from quarterturn.features.pictures import thumbnail
from quarterturn.features.run_cache import FOLDER
from quarterturn.pages.figures import save_figure
from quarterturn.pages.tables import show
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.output_file import check_out
from quarterturn.weights.start import taking_weights


@taking_weights
@locking_its_run
def neighbors(
    run: Path | str,
    image: Path | str,
    options: NeighborsOptions | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Find the images whose features have the largest cosine to those of one image.

    Every image is taken upright, by its centre crop. The features of the collection are extracted
    once and cached, memory-mapped, in ``RUN/features``, which ``probe`` shares.

    Args:
        run: The run directory, a file of weights, or ``timm:NAME``.
        image: An image file, or the name of an image in the collection, as ``embed`` lists it; it
            is then left out of its own neighbours.
        options: What is searched by which features, and where to draw it.
        **fields: Fields of `NeighborsOptions`, in place of ``options`` or of some of its values.

    Returns:
        The query, the images and features searched, and ``neighbors``, nearest first, each with
        rank, name, split, label (or None) and cosine.

    Raises:
        DataError: There is no such image, or it cannot be read.
        ConfigError: ``out`` exists or is no ``.png``; the run has no halves, or no such layer.
    """
    options = take_options(NeighborsOptions, options, fields)
    if options.out is not None:
        check_out(options.out, [".png"], overwrite=options.overwrite, beside=[".json"])
    opened = Run.open(run)
    reading = options.reading_as(opened.config.data)
    crop = replace(opened.config.data, **reading)
    data = opened.data_or_own(options.data, "--data DATA")
    source = open_source(data, index=opened.index, min_images=1, **reading)
    source.log_summary()
    query = find_image(source, str(image))
    runtime = Runtime(options.device, "32-true")
    model, part = choose_part(opened.load_network().to(runtime.device), options.half, options.layer)
    cache = FeatureCache(opened.path / FOLDER)
    gallery, unreadable = {}, dict(source.unreadable)
    with stage("neighbors", total=source.num_indexed):
        for split, images in source.splits.items():
            failed: dict[int, str] = {}
            gallery[split] = cached_features(
                images,
                crop,
                model,
                cache,
                device=runtime.device,
                workers=options.num_workers,
                failed=failed,
            )[part]
            unreadable |= {source.file_of(split, images.names[i]): why for i, why in failed.items()}
        values = _features_of(query, gallery, crop, model, part, runtime)
        nearest = nearest_in_splits(gallery, values, options.k, excluded=query.places)
    searched = sum(len(features.indices) for features in gallery.values())
    check_unreadable(unreadable, searched, crop.max_bad_fraction)
    result = {
        "run": str(opened.path),
        "data": data,
        "image": query.name,
        "label": _label(query.images, query.index),
        "features": options.layer or part,
        "left_out": sorted({split for split, _ in query.places}),
        "searched": searched,
        "unreadable": len(unreadable),
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
    out = options.out or opened.figures / f"neighbors-{_stem(query)}.png"
    save_figure(out.parent, contact_sheet(out.stem, result, pictures))
    show(neighbors_table(result))
    log_unreadable(unreadable)
    collection = [] if options.data is None else ["--data", data]
    words = "1 image" if searched == 1 else f"{searched:,} images"
    log_closing(
        f"the {len(nearest)} nearest of {words} to {query.name} ({options.layer or part})",
        {"contact sheet": out, "its data": out.with_suffix(".json")},
        [
            *(
                ("neighbors", opened.path, source.splits[near.split].names[near.index], *collection)
                for near in nearest[:1]
            ),
            ("embed", opened.path, data, "--out", opened.path / "features.npz"),
            ("export", opened.path, "--format", "safetensors"),
        ],
    )
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
    if images.label_sets is not None:
        return words_of(images.label_sets[index], images.class_names)
    return None if images.labels is None else images.class_names[images.labels[index]]


def _stem(query: FoundImage) -> str:
    """A file stem that differs between images of the same name in several folders."""
    path = Path(query.name)
    if not query.places:
        return path.stem
    return path.with_suffix("").as_posix().strip("/").replace("/", "-")
