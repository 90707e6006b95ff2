"""``quarterturn neighbors``: the images of a collection most like one image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from quarterturn.collection.neighbor_sheet import MOST_SHOWN, contact_sheet, neighbors_table
from quarterturn.collection.options import NeighborsOptions
from quarterturn.collection.similar_images import label_of, similar_images
from quarterturn.config.options import take_options
from quarterturn.data.image_lookup import FoundImage, find_image
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError
from quarterturn.features.pictures import thumbnail
from quarterturn.pages.figures import save_figure
from quarterturn.pages.tables import show
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.output_file import check_out
from quarterturn.weights.weights_as_run import as_run
from quarterturn.wording import counted


def neighbors(
    run: Path | str,
    image: Path | str | Sequence[Path | str],
    options: NeighborsOptions | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Find the images whose features have the largest cosine to those of one image, or of many.

    Every image is taken upright, by its centre crop. The features of the collection are extracted
    once and cached, memory-mapped, in ``RUN/features``, which ``probe`` shares.

    Args:
        run: The run directory, a file of weights, or ``timm:NAME``.
        image: An image file, or the name of an image in the collection, as ``embed`` lists it; it
            is then left out of its own neighbours. Or several of them, or a folder of image files.
        options: What is searched by which features, and where to draw it.
        **fields: Fields of `NeighborsOptions`, in place of ``options`` or of some of its values.

    Returns:
        The query, the images and features searched, and ``neighbors``, nearest first, each with
        rank, name, split, label (or None) and cosine. Of many queries, see
        `quarterturn.collection.neighbor_lists.neighbors_of_many`.

    Raises:
        DataError: There is no such image, or it cannot be read; of many, none of them.
        ConfigError: ``out`` exists, or is no ``.png``, or no ``.csv`` for many; the run has no
            halves, or no such layer.
    """
    options = take_options(NeighborsOptions, options, fields)
    words = [str(image)] if isinstance(image, str | Path) else [str(one) for one in image]
    if not words:
        raise ConfigError("expected an image, several, or a folder of them, after the run")
    several = len(words) != 1 or os.path.isdir(os.path.expanduser(words[0]))
    if options.out is not None:
        suffix, beside = (".csv", ".html") if several else (".png", ".json")
        check_out(options.out, [suffix], overwrite=options.overwrite, beside=[beside])
    path = as_run(run, options.data, option="--data DATA", download=options.download)
    if several:
        # The page of many is made by jinja2, and loading it takes a tenth of a second.
        from quarterturn.collection.neighbor_lists import neighbors_of_many

        return neighbors_of_many(path, words, options)
    return _neighbors_of_one(path, words[0], options)


@locking_its_run
def _neighbors_of_one(run: Path, image: str, options: NeighborsOptions) -> dict[str, Any]:
    """The neighbours of one image, with a contact sheet."""
    opened = Run.open(run)
    reading = options.reading_as(opened.config.data)
    crop = replace(opened.config.data, **reading)
    data = opened.data_or_own(options.data, "--data DATA")
    source = open_source(data, index=opened.index, min_images=1, **reading)
    source.log_summary()
    query = find_image(source, image)
    with stage("neighbors", total=source.num_indexed):
        similar = similar_images(opened, source, crop, options)
        [nearest] = similar.nearest([query], options.k)
    searched = similar.num_searched
    result = {
        "run": str(opened.path),
        "data": data,
        "image": query.name,
        "label": label_of(query.images, query.index),
        "features": similar.words,
        "left_out": sorted({split for split, _ in query.places}),
        "searched": searched,
        "unreadable": len(similar.unreadable),
        "neighbors": [
            {
                "rank": rank,
                "name": source.splits[one.split].names[one.index],
                "split": one.split,
                "label": label_of(source.splits[one.split], one.index),
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
    log_unreadable(similar.unreadable)
    collection = [] if options.data is None else ["--data", data]
    log_closing(
        f"the {len(nearest)} nearest of {counted(searched, 'image')} to {query.name} "
        f"({similar.words})",
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


def _stem(query: FoundImage) -> str:
    """A file stem that differs between images of the same name in several folders."""
    path = Path(query.name)
    if not query.places:
        return path.stem
    return path.with_suffix("").as_posix().strip("/").replace("/", "-")
