"""The images of a run: which to train on, and which to hold out for diagnostics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.source import Source
from quarterturn.data.sources import MIN_IMAGES, open_source
from quarterturn.data.subsets import cut_long_tail, hold_out, limit_images
from quarterturn.errors import DataError


@dataclass(frozen=True)
class Selection:
    """The images of a run.

    Attributes:
        source: The opened data, and what was left out of it.
        chosen: The training images after ``--long-tail`` and ``--limit``.
        train: Those of them to train on.
        held_out: Images for diagnostics, or None.
        held_out_of_train: Whether ``held_out`` was taken from ``chosen``.
        labels_read: A sentence on what labels were read for; empty if none were.
    """

    source: Source
    chosen: ImageSet
    train: ImageSet
    held_out: ImageSet | None
    held_out_of_train: bool
    labels_read: str = ""

    def file_of_held_out(self, index: int) -> str:
        """A name for a held-out image that no training image has."""
        assert self.held_out is not None
        name, source = self.held_out.names[index], self.source
        return name if self.held_out_of_train else source.file_of(source.test_name, name)


def select_images(
    data: str,
    settings: DataConfig,
    *,
    index: Path | None = None,
    download: bool = False,
) -> Selection:
    """Open DATA and split it by the settings; see `select_from`.

    Args:
        data: DATA as the user wrote it.
        settings: Which images to take.
        index: Folder of the header index; see `open_source`.
        download: Fetch a named data set that is missing.

    Raises:
        DataError: DATA cannot be read, or too few images are left.
    """
    source = open_source(
        data,
        index=index,
        **settings.reading,
        verify=settings.verify,
        download=download,
    )
    return select_from(source, settings)


def select_from(source: Source, settings: DataConfig) -> Selection:
    """Split an opened collection by the settings.

    A long tail is cut first and reads the labels; nothing else here does. The held-out images are
    those of the data's test split if it has at least 8 images, else a fraction of the training
    images; of either at most ``diagnostics_images``.

    Args:
        source: The collection.
        settings: Which images to take.

    Raises:
        DataError: Too few images are left.
    """
    train, labels_read = source.train, ""
    if settings.long_tail is not None:
        train, labels_read = cut_long_tail(train, settings.long_tail, settings.long_tail_kind)
        if len(train) < MIN_IMAGES:
            raise DataError(
                f"--long-tail {settings.long_tail} leaves {len(train)} training images; at least "
                f"{MIN_IMAGES} are needed"
            )
    chosen = limit_images(train, settings.limit)
    most = None if settings.diagnostics_images == "all" else settings.diagnostics_images
    if source.test is not None and len(source.test) >= MIN_IMAGES:
        held_out: ImageSet | None = limit_images(source.test, most)
        return Selection(source, chosen, chosen, held_out, False, labels_read)
    train, held_out = hold_out(chosen, settings.holdout, most)
    if len(train) < MIN_IMAGES:
        raise DataError(
            f"--holdout {settings.holdout} leaves {len(train)} training images; at least "
            f"{MIN_IMAGES} are needed"
        )
    return Selection(source, chosen, train, held_out, True, labels_read)
