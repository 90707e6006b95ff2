"""``quarterturn neighbors`` for many queries: a csv file, and a page with the pictures.

Shapes: k neighbours of a query; T side of a picture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.collection.options import NeighborsOptions
from quarterturn.collection.similar_images import SimilarImages, label_of, similar_images
from quarterturn.copies.duplicate_groups import (
    CORRELATION,
    DETAIL,
    MIRRORED,
    NEAR,
    TURNED,
    correlations,
    detail_agreement,
)
from quarterturn.copies.picture_signatures import oriented
from quarterturn.data.folder import list_images
from quarterturn.data.image_lookup import FoundImage, find_image
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.unreadable import list_unreadable
from quarterturn.errors import DataError
from quarterturn.exploring.explore_page import href_to
from quarterturn.features.nearest_neighbors import SplitNeighbor
from quarterturn.features.pictures import thumbnail
from quarterturn.files import write_csv
from quarterturn.pages.exploration import Shown
from quarterturn.pages.measures import PARTS
from quarterturn.pages.neighbors import NeighborsPage, QueryShown, write_neighbors
from quarterturn.pages.sprite import make_sprite
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.facts import folders_of
from quarterturn.runs.lock import locking_its_run

COLUMNS = ["query", "rank", "path", "name", "split", "label", "similarity", "copy", "turn"]
PICTURE_SIDE, COMPARED_SIDE = 96, 32
"""Pixels of pictures on the page, and of those by which copies are found."""
PLATE_BYTES = 3_000_000
MOST_QUERIES, MOST_NEAREST = 100, 12
"""On the page; the csv file has all."""


@dataclass(frozen=True)
class Match:
    """An image that was found for a query.

    Attributes:
        near: Which it is, and how similar.
        path: Its file; empty where it is no file of its own.
        name: In the collection.
        label: In words, or None.
        copy: ``near``, ``turned`` or ``mirrored`` where it shows the same picture; else empty.
        turn: Degrees, counter-clockwise, by which it is then turned against the query, after it was
            mirrored where it is; None where it is no copy.
    """

    near: SplitNeighbor
    path: str
    name: str
    label: str | None
    copy: str
    turn: int | None


@locking_its_run
def neighbors_of_many(
    path: Path, words: Sequence[str], options: NeighborsOptions
) -> dict[str, Any]:
    """Find the images most like each of many, and write a csv file and a page.

    Args:
        path: The run directory.
        words: Image files, names in the collection, or folders of image files.
        options: What is searched by which features, and where the csv file is written, which is
            checked already; the page is beside it. By default ``RUN/neighbors-<folder>.csv``, made
            anew each time, as the sheet of one query is.

    Returns:
        The run, the images and features searched; ``queries``, each with its ``neighbors``;
        ``refused``, the queries that are no images, with the reason; and the files.

    Raises:
        DataError: None of the queries is an image.
    """
    run = Run.open(path)
    out = options.out or run.path / f"neighbors-{_stem(words)}.csv"
    reading = options.reading_as(run.config.data)
    crop = replace(run.config.data, **reading)
    data = run.data_or_own(options.data, "--data DATA")
    source = open_source(data, index=run.index, min_images=1, **reading)
    source.log_summary()
    queries, refused = _find(source, _expanded(words))
    with stage("neighbors", total=source.num_indexed):
        similar = similar_images(run, source, crop, options)
        nearest = similar.nearest(queries, options.k)
    with stage("pictures"):
        pictures = _Pictures(similar)
        matches = [
            pictures.matches(query, found) for query, found in zip(queries, nearest, strict=True)
        ]
    write_csv(out, COLUMNS, _rows(queries, matches))
    page = out.with_suffix(".html")
    shown = _page(similar, queries, matches, pictures, refused, out)
    write_neighbors(page, shown, folders_of(run))
    log_unreadable(similar.unreadable)
    log_unreadable(refused)
    log_closing(
        f"the {options.k} nearest of {similar.num_searched:,} images to each of "
        f"{len(queries):,} ({similar.words})",
        {"page": page, "all of them": out},
        [("embed", run.path, data, "--out", run.path / "features.npz")],
    )
    return {
        "run": str(run.path),
        "data": data,
        "features": similar.words,
        "searched": similar.num_searched,
        "unreadable": len(similar.unreadable),
        "refused": refused,
        "page": str(page),
        "csv": str(out),
        "queries": [
            {
                "image": query.name,
                "neighbors": [
                    {
                        "rank": rank,
                        "name": match.name,
                        "split": match.near.split,
                        "label": match.label,
                        "cosine": match.near.cosine,
                        "copy": match.copy,
                        "turn": match.turn,
                    }
                    for rank, match in enumerate(found, start=1)
                ],
            }
            for query, found in zip(queries, matches, strict=True)
        ],
    }


def _expanded(words: Sequence[str]) -> list[str]:
    """Folders as the image files below them."""
    expanded = []
    for word in words:
        folder = Path(os.path.expanduser(word))
        if folder.is_dir():
            expanded += [str(folder / name) for name in list_images(folder)[0]]
        else:
            expanded.append(word)
    if not expanded:
        raise DataError(f"there are no image files in {' and '.join(words)}")
    return list(dict.fromkeys(expanded))


def _find(source: Source, words: Sequence[str]) -> tuple[list[FoundImage], dict[str, str]]:
    """The queries, and those that are no images with the reason.

    Raises:
        DataError: None is one.
    """
    found, refused = [], {}
    for word in words:
        try:
            found.append(find_image(source, word))
        except DataError as error:
            refused[word] = str(error).removeprefix(f"{word} cannot be read: ")
    if not found:
        raise DataError("none of the queries is an image:\n" + "\n".join(list_unreadable(refused)))
    return found, refused


class _Pictures:
    """Small pictures of queries and of what was found, each decoded once."""

    def __init__(self, similar: SimilarImages) -> None:
        self.similar = similar
        self._small: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def of(self, images: ImageSet, index: int) -> NDArray[np.uint8]:
        """(T, T, 3) of an image, as the network sees it."""
        key = (id(images), index)
        if key not in self._small:
            small = thumbnail(images, index, self.similar.crop)
            resized = small.resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX)
            self._small[key] = np.asarray(resized)
        return self._small[key]

    def matches(self, query: FoundImage, found: Sequence[SplitNeighbor]) -> list[Match]:
        """What was found for a query, with how it lies to it where it is a copy."""
        splits = self.similar.source.splits
        first = _reduced(self.of(query.images, query.index))
        every = []
        for near in found:
            images = splits[near.split]
            copy, turn = _copy(first, _reduced(self.of(images, near.index)))
            label = label_of(images, near.index)
            path, name = _path(images, near.index), images.names[near.index]
            every.append(Match(near, path, name, label, copy, turn))
        return every


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = Image.fromarray(picture).resize((COMPARED_SIDE, COMPARED_SIDE), Image.Resampling.BOX)
    return np.asarray(small)


def _copy(first: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[str, int | None]:
    """What kind of copy a picture is of another, and how it is turned; see `Match`."""
    [scores] = correlations(first, other[None])
    column = int(scores.argmax())
    if scores[column] < CORRELATION:
        return "", None
    if detail_agreement(oriented(first, column), other[None])[0] < DETAIL:
        return "", None
    is_mirrored, turns = divmod(column, 4)
    return MIRRORED if is_mirrored else TURNED if turns else NEAR, 90 * turns


def _path(images: ImageSet, index: int) -> str:
    if isinstance(images, FileImages) and images.are_files:
        return os.path.abspath(images.path(index))
    return ""


def _rows(
    queries: Sequence[FoundImage], matches: Sequence[Sequence[Match]]
) -> Iterator[Sequence[Any]]:
    for query, found in zip(queries, matches, strict=True):
        for rank, match in enumerate(found, start=1):
            near = match.near
            yield [
                query.name,
                rank,
                match.path,
                match.name,
                near.split,
                match.label or "",
                f"{near.cosine:.6f}",
                match.copy,
                "" if match.turn is None else match.turn,
            ]


def _page(
    similar: SimilarImages,
    queries: Sequence[FoundImage],
    matches: Sequence[Sequence[Match]],
    pictures: _Pictures,
    refused: dict[str, str],
    out: Path,
) -> NeighborsPage:
    drawn: list[NDArray[np.uint8]] = []

    def shown(images: ImageSet, index: int, name: str, note: str) -> Shown:
        drawn.append(pictures.of(images, index))
        path = _path(images, index)
        return Shown(name, href_to(Path(path), out.parent) if path else "", len(drawn) - 1, note)

    lists = []
    for query, found in list(zip(queries, matches, strict=True))[:MOST_QUERIES]:
        own = shown(query.images, query.index, query.name, "query")
        nearest = [
            shown(similar.source.splits[m.near.split], m.near.index, m.name, _note(m))
            for m in found[:MOST_NEAREST]
        ]
        lists.append(QueryShown(own, nearest))
    num_copies = sum(match.copy != "" for found in matches for match in found)
    summary = [f"{similar.num_searched:,} images were searched for those most like each query."]
    if num_copies:
        summary.append(f"{num_copies:,} of the images found show the picture of their query.")
    features = PARTS.get(similar.words, f"layer {similar.words}")
    return NeighborsPage(
        title=f"Nearest to {len(queries):,} images in {similar.source.name}",
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        summary=summary,
        queries=lists,
        num_queries=len(queries),
        refused=refused,
        table=out.name,
        plates=make_sprite(np.stack(drawn), PLATE_BYTES),
        how=f"The number is the cosine between the {features} of the two images, 1 for the same "
        "direction. Copies are found by their pixels, laid on the query in eight orientations.",
    )


def _note(match: Match) -> str:
    words = f"{match.near.cosine:.3f}"
    if match.copy:
        turned = f" by {match.turn}°" if match.turn else ""
        words += f", {match.copy} copy{turned}" if match.copy == NEAR else f", {match.copy}{turned}"
    return words if match.label is None else f"{words} ({match.label})"


def _stem(words: Sequence[str]) -> str:
    path = Path(os.path.expanduser(words[0]))
    return path.resolve().name or "queries" if path.is_dir() else "queries"
