"""``pretrain --cache``: images are decoded once, and every epoch reads what was made of them."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from pathlib import Path

from quarterturn.config import DataConfig
from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.pixel_cache import CacheOrigin, is_cache, open_cache
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.methods.configuration import Config
from quarterturn.runs.cache_writing import fingerprints_of, write_cache
from quarterturn.runs.closing import command, log_unreadable

logger = logging.getLogger(__name__)

AUTO = "auto"


def data_in_cache(data: str, cache: str, config: Config, runtime: Runtime) -> str:
    """Find or make the cache of a collection.

    Args:
        data: DATA as the user wrote it.
        cache: A folder, or ``auto`` for one in the user's cache directory.
        config: All settings; the cache is as large as its crops need.
        runtime: Which process this is.

    Returns:
        The cache, which is DATA in place of the collection; or the collection itself, where its
        images are in memory anyway.

    Raises:
        ConfigError: A cache of that name is of other images, or too small; or several processes
            would have to make it.
        QuarterturnError: As of `write_cache`.
    """
    download = config.machine.download
    with runtime.main_first(download):
        source = open_source(
            data, **config.data.reading, download=download and runtime.is_main, min_images=1
        )
    if source.cache is not None:
        logger.warning(f"--cache {cache} has no effect: {data} is a cache")
        return data
    if isinstance(source.train, ArrayImages):
        logger.warning(f"--cache {cache} has no effect: the images of {data} are in memory")
        return data
    if config.data.fixed_crop:
        raise ConfigError(
            f"--fixed-crop {config.data.fixed_crop} counts the pixels of the images as they are, "
            f"and --cache {cache} would hold smaller ones: leave one of them out"
        )
    side = side_needed(config.data)
    origin = CacheOrigin(locate(data), side)
    white = config.data.white
    out = place_of(source, origin, white) if cache == AUTO else Path(cache).expanduser()
    if is_cache(out):
        _require_fit(out, source, side, white, data)
        logger.info(f"images are read from the cache {out}")
        return str(out)
    if runtime.world_size > 1:
        raise ConfigError(
            f"the cache {out} is not there, or not finished, and {runtime.world_size} processes "
            f"would make it at once: make it first, with: {command(*origin.command(out))}"
        )
    smallest = math.sqrt(config.data.crop_scale[0])
    logger.info(
        f"--cache {cache}: images are decoded once into {out}, with a short side of {side} px "
        f"at most; crops of less than {config.data.image_size / side:.0%} of it are enlarged "
        f"(the smallest are {smallest:.0%})"
    )
    unreadable = write_cache(
        source,
        origin,
        out,
        white=white,
        workers=config.machine.num_workers,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    log_unreadable(unreadable)
    return str(out)


def side_needed(crop: DataConfig) -> int:
    """The short side in pixels that a cache needs so that no centre crop is enlarged."""
    factors = [1 / crop.eval_crop]
    if crop.crop_fraction:
        factors.append(1 / crop.crop_fraction)
    if crop.crop_pixels is not None:
        factors.append(crop.crop_pixels[1])
    return math.ceil(crop.image_size * max(factors))


def place_of(source: Source, origin: CacheOrigin, white: int | None) -> Path:
    """A folder in the user's cache directory, another for each state of a collection."""
    state = [fingerprints_of(source), origin.data, origin.quality, white]
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:10]
    parent = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return parent / "quarterturn" / f"{source.name}-{origin.side}px-{digest}"


def _require_fit(out: Path, source: Source, side: int, white: int | None, data: str) -> None:
    """Refuse a cache of other images, or of smaller ones than the crops need.

    Raises:
        DataError: Its images are others, or were decoded otherwise.
        ConfigError: They are too small.
    """
    cached = open_cache(out)
    anew = (
        "give another --cache, or make it anew, with: "
        f"{command('cache', data, '--out', out, '--side', side, '--overwrite')}"
    )
    found = fingerprints_of(source)
    if cached.fingerprints != found:
        before = cached.fingerprints
        split = next(name for name in found | before if found.get(name) != before.get(name))
        raise DataError(
            f"the cache {out} is of other images than {data} holds now (split {split!r}: "
            f"fingerprint {before.get(split, 'none')}, expected {found.get(split, 'none')}): files "
            f"were added, removed or changed. {anew[0].upper()}{anew[1:]}"
        )
    if cached.white != white:
        raise DataError(
            f"the cache {out} was decoded with --white {cached.white or 'not given'}, expected "
            f"{white or 'not given'}: {anew}"
        )
    if cached.origin.side < side:
        raise ConfigError(
            f"the cache {out} holds images of {cached.origin.side} px, and the crops need {side} "
            f"px: {anew}"
        )
