"""The page of an exploration, from what was found.

Shapes: n images.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.copies.copies_shown import group_shown, kind_words, varied
from quarterturn.copies.plates import Plates
from quarterturn.data.imageset import FileImages
from quarterturn.exploring.exploration import Exploration
from quarterturn.features.pictures import thumbnail
from quarterturn.pages.exploration import (
    Colouring,
    ExplorationPage,
    Folder,
    KindShown,
    MapShown,
    TurnedShown,
)
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import href_to
from quarterturn.pages.sprite import make_sprite
from quarterturn.pages.tables import Cell, Table, percent
from quarterturn.progress import stage
from quarterturn.randomness import permutation
from quarterturn.wording import counted

MOST_POINTS = 20_000
"""Points on the map; a browser redraws them many times a second."""
MOST_ODD, MOST_TURNED, MOST_GROUPS, MOST_IN_GROUP = 40, 48, 60, 8
PLATE_BYTES, TILE_BYTES = 1_200_000, 2_200_000
"""Of the large pictures and of the small ones, so that a page of 2,000 photos is below 5 MB."""
FREE_TILES, BYTES_PER_TILE = 2_000, 300
"""Points beyond the first 2,000 get this much more each."""
MOST_RARE = 3


def explore_page(found: Exploration, out: Path) -> ExplorationPage:
    """Lay an exploration out.

    Args:
        found: What was found.
        out: The page's file, from which links lead to the images.
    """
    plates = Plates(
        found.survey, out.parent, lambda images, index: thumbnail(images, index, found.crop)
    )
    with stage("page"):
        kinds = _kinds(found, plates)
        groups = [
            group_shown(group, plates, MOST_IN_GROUP)
            for group in varied(found.groups)[:MOST_GROUPS]
        ]
        turned = _turned(found, plates)
        odd = [
            plates.add(place, f"{found.oddness[place]:.1f} times")
            for place in found.oddest()[:MOST_ODD].tolist()
        ]
        return ExplorationPage(
            title=f"What is in {found.survey.source.name}",
            date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            summary=_summary(found),
            measures=_measures(found),
            facts=found.survey.source.left_out(),
            unreadable=found.survey.unreadable,
            tables=_tables(found),
            map=_map(found, out.parent),
            plates=make_sprite(plates.pixels(), PLATE_BYTES),
            kinds=kinds,
            kinds_rule=found.kinds_rule,
            rarest=list(range(len(found.kinds), max(1, len(found.kinds) - MOST_RARE), -1)),
            groups=groups,
            num_groups=len(found.groups),
            num_copies=sum(len(group) - 1 for group in found.groups),
            copies_words=kind_words(copy for group in found.groups for copy in group),
            turned=turned,
            num_turned=None if found.turns is None else len(found.turns.turned()),
            turned_caveat="" if found.turns is None else found.turns.caveat,
            odd=odd,
            how=found.how,
        )


def _summary(found: Exploration) -> list[str]:
    sentences = [f"{len(found.survey):,} images, in {len(found.kinds)} clusters by likeness."]
    if found.groups:
        copies = sum(len(group) - 1 for group in found.groups)
        sentences.append(f"{copies:,} of them show a picture that is there already.")
    if found.turns is not None and (turned := len(found.turns.turned())):
        sentences.append(f"{turned:,} {'is' if turned == 1 else 'are'} probably stored turned.")
    if unreadable := len(found.survey.unreadable):
        sentences.append(f"{counted(unreadable, 'file')} cannot be read.")
    return sentences


def _measures(found: Exploration) -> list[Measure]:
    survey = found.survey
    measures = [
        Measure("Images", f"{len(survey):,}", "that could be read, held-out ones too"),
        Measure("Unreadable", f"{len(survey.unreadable):,}", "files that could not be read"),
        Measure("Clusters", f"{len(found.kinds)}", "groups of images that look alike"),
        Measure(
            "Duplicates",
            f"{sum(len(group) - 1 for group in found.groups):,}",
            "images beyond one of each picture",
        ),
    ]
    if found.turns is not None:
        measures.append(
            Measure(
                "Stored turned",
                f"{len(found.turns.turned()):,}",
                "photos that are probably not upright",
            )
        )
    return measures


def _tables(found: Exploration) -> list[Table]:
    """Counts by label and split, where there are several of either."""
    survey = found.survey
    labels, splits = _ordered(survey.labels), _ordered(survey.splits)
    if labels == [""] and len(splits) == 1:
        return []
    counts = Counter(zip(survey.labels, survey.splits, strict=True))
    rows: list[list[Cell]] = [
        [label or "no label", *(counts[label, split] for split in splits)] for label in labels
    ]
    if labels == [""]:
        rows = [["images", *rows[0][1:]]]
    title = "Images by split" if labels == [""] else "Images by label"
    columns = ["label", *(splits if len(splits) > 1 else ["images"])]
    return [Table(title, columns, rows, note="Labels are read for this table and the map only.")]


def _ordered(words: Iterable[str]) -> list[str]:
    """Each word once, the most frequent first."""
    return [word for word, _ in Counter(words).most_common()]


def _kinds(found: Exploration, plates: Plates) -> list[KindShown]:
    survey, kinds = found.survey, found.kinds
    labels = np.array(survey.labels, dtype=object)
    return [
        KindShown(
            number=kind + 1,
            size=int(size),
            share=int(size) / len(survey),
            labels=_label_words(labels[kinds.cluster == kind].tolist()),
            examples=[plates.add(place) for place in kinds.examples[kind].tolist()],
        )
        for kind, size in enumerate(kinds.sizes)
    ]


def _label_words(labels: Sequence[str]) -> str:
    """The two most frequent labels of a cluster with their shares."""
    common = Counter(label for label in labels if label).most_common(2)
    return ", ".join(f"{label} {percent(count / len(labels))}" for label, count in common)


def _turned(found: Exploration, plates: Plates) -> list[TurnedShown]:
    if found.turns is None:
        return []
    turns = found.turns.turns
    return [
        TurnedShown(
            plates.add(place), int(turns.to_upright[place]), float(turns.stored[place].max())
        )
        for place in found.turns.turned()[:MOST_TURNED].tolist()
    ]


def _map(found: Exploration, folder: Path) -> MapShown:
    survey = found.survey
    drawn = permutation(len(survey), found.seed, "points")[:MOST_POINTS].sort().values.numpy()
    budget = TILE_BYTES + BYTES_PER_TILE * max(0, len(drawn) - FREE_TILES)
    splits = _ordered(survey.splits)
    names = [survey.names[place] for place in drawn]
    return MapShown(
        names=names,
        x=found.places[drawn, 0].tolist(),
        y=found.places[drawn, 1].tolist(),
        folders=[_folder(found, split, folder) for split in splits],
        splits=[splits.index(survey.splits[place]) for place in drawn],
        hrefs={
            number: href_to(file, folder)
            for number, (place, name) in enumerate(zip(drawn.tolist(), names, strict=True))
            if not _joins(name) and (file := survey.file(place)) is not None
        },
        colourings=[_of(drawn, one) for one in found.colourings()],
        tiles=make_sprite(survey.thumbnails[drawn], budget),
        left_out=len(survey) - len(drawn),
    )


def _folder(found: Exploration, split: str, folder: Path) -> Folder | None:
    source = found.survey.source
    images = source.all_splits[split]
    if not isinstance(images, FileImages) or not images.are_files:
        return None
    prefix = source.file_of(split, "x").removesuffix("x")
    return Folder(href_to(images.root, folder) + "/", prefix)


def _of(drawn: NDArray[np.int64], whole: Colouring) -> Colouring:
    return replace(whole, values=[whole.values[place] for place in drawn])


def _joins(name: str) -> bool:
    """Whether the page can make a link of a folder and a name: not of odd bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not os.path.isabs(name)  # in a manifest
