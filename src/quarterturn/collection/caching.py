"""``quarterturn cache``: decode a collection once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from quarterturn.collection.options import CacheOptions
from quarterturn.config.options import take_options
from quarterturn.data.data_argument import locate
from quarterturn.data.pixel_cache import PIXELS, CacheOrigin
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError
from quarterturn.runs.cache_writing import write_cache
from quarterturn.runs.closing import log_closing, log_unreadable

logger = logging.getLogger(__name__)


def cache(
    data: Path | str,
    options: CacheOptions | None = None,
    **fields: Any,
) -> Path:
    """Decode every image of a collection once, upright and reduced, into a folder that is DATA.

    Args:
        data: DATA; all of its splits are decoded.
        options: Where, in what size and form; ``out`` has no default.
        **fields: Fields of `CacheOptions`, in place of ``options`` or of some of its values.

    Returns:
        The folder; give it as DATA to any command.

    Raises:
        ConfigError: There is something else in its place, or DATA is a cache.
        CheckpointError: Another command writes to it.
        DataError: There are no images, or too many that cannot be read.
        OutputError: It would not fit on the disk, or the disk is full; the same command continues.
    """
    options = take_options(CacheOptions, options, fields)
    source = open_source(str(data), min_images=1, **options.reading)
    if source.cache is not None:
        raise ConfigError(
            f"{data} is a cache, {source.cache}: give the images that it was decoded from"
        )
    source.log_summary(uses_all=True)
    origin = CacheOrigin(locate(str(data)), options.side, options.quality)
    unreadable = write_cache(
        source,
        origin,
        options.out,
        white=options.white,
        workers=options.num_workers,
        max_bad_fraction=options.max_bad_fraction,
        overwrite=options.overwrite,
    )
    log_unreadable(unreadable)
    size = (options.out / PIXELS).stat().st_size / 1e9
    num_images = sum(map(len, source.all_splits.values())) - len(unreadable)
    log_closing(
        f"{num_images:,} images of {options.side} px, {size:,.2f} GB",
        {"cache": options.out},
        [("pretrain", options.out)],
    )
    return options.out
