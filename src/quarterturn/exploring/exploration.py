"""What a collection holds: the figures behind ``explore.html``, and its table of all images.

Shapes: n images that could be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import DataConfig
from quarterturn.copies.copies import as_places_of, copies_in
from quarterturn.copies.duplicate_groups import Copy
from quarterturn.copies.whole_pictures import WholePictures
from quarterturn.engine.runtime import Runtime
from quarterturn.exploring.kinds import FEWEST, MOST_JUDGED, NUMBERS, Kinds, find_kinds
from quarterturn.exploring.oddness import oddness
from quarterturn.exploring.picture_map import map_places
from quarterturn.exploring.stored_turned import StoredTurns, stored_turns_of
from quarterturn.exploring.survey import Survey
from quarterturn.files import write_csv
from quarterturn.orientation.turns import UNREADABLE
from quarterturn.pages.exploration import Colouring
from quarterturn.pages.measures import PARTS
from quarterturn.runs import Run

COLUMNS = [
    "name",
    "split",
    "label",
    "status",
    "x",
    "y",
    "cluster",
    "cluster_size",
    "oddness",
    "upright",
    "turn_degrees",
    "verdict",
    "duplicate_group",
    "duplicate_kind",
    "duplicate_angle",
]
"""Of ``collection.csv``."""


@dataclass(frozen=True)
class Exploration:
    """What was found in a collection.

    Attributes:
        survey: Its images.
        crop: How the network sees them.
        places: (n, 2) places on the map, within the unit square.
        kinds: Clusters.
        oddness: (n,) about 1 for an ordinary image.
        groups: Groups of duplicates.
        turns: How the images are probably stored; None where the run predicts no turns.
        seed: Fixes map, clusters and samples.
        network_words: Whose features these are, for the page.
    """

    survey: Survey
    crop: DataConfig
    places: NDArray[np.float32]
    kinds: Kinds
    oddness: NDArray[np.float32]
    groups: list[list[Copy]]
    turns: StoredTurns | None
    seed: int
    network_words: str

    def oddest(self) -> NDArray[np.int64]:
        """Places of the images, oddest first."""
        return np.argsort(-self.oddness, kind="stable")

    @cached_property
    def kinds_rule(self) -> str:
        """How the number of clusters was chosen, in a sentence."""
        judged = self.kinds.silhouette
        if not judged:
            return "Their number was given."
        return (
            f"Of {min(judged)} to {max(judged)} clusters, {len(self.kinds)} are the most distinct: "
            "their mean silhouette is the largest."
        )

    @property
    def how(self) -> list[str]:
        """How it was made, a sentence each."""
        return [
            f"Features: the {PARTS[self.survey.part]} of {self.network_words}, of each image's "
            f"centre crop at {self.crop.image_size} px.",
            f"Map: t-SNE of their directions, after principal components. Seed {self.seed}.",
            "Clusters: k-means of their directions. Numbers between "
            f"{FEWEST} and {NUMBERS[-1]} are tried on at most {MOST_JUDGED:,} images.",
            "Duplicates: equal bytes, or small pictures of the whole images that correlate when "
            "one is turned or mirrored onto the other. The network has no part in it.",
            "The same figures, for every image, are in collection.csv.",
        ]

    def colourings(self) -> list[Colouring]:
        """What the colours of the map may say, of all n images."""
        survey, kinds = self.survey, self.kinds
        found = [
            Colouring(
                "cluster",
                kinds.cluster.tolist(),
                [f"cluster {1 + kind}" for kind in range(len(kinds))],
            )
        ]
        for name, words in [("label", survey.labels), ("split", survey.splits)]:
            distinct = [word for word, _ in Counter(words).most_common()]
            if len(distinct) > 1:
                numbers = {word: number for number, word in enumerate(distinct)}
                found.append(Colouring(name, [numbers[word] for word in words], distinct))
        if self.turns is not None:
            upright = np.nan_to_num(self.turns.upright, nan=-1).tolist()
            found.append(Colouring("upright", upright, low="turned", high="upright"))
        rank = np.empty(len(survey))
        rank[self.oddest()] = np.linspace(0, 1, len(survey))
        found.append(Colouring("odd", rank.tolist(), low="odd", high="ordinary", before="top "))
        return found

    def write_csv(self, path: Path) -> None:
        """Write every image with what was found of it, unreadable files last."""
        write_csv(path, COLUMNS, self._rows())

    def _rows(self) -> Iterator[Sequence[Any]]:
        survey, kinds = self.survey, self.kinds
        copies = {
            copy.place: (number, copy)
            for number, group in enumerate(self.groups, start=1)
            for copy in group
        }
        turns = None if self.turns is None else self.turns.turns
        if turns is not None:  # once: each of these is of all images
            verdicts, to_upright, upright = turns.verdicts(), turns.to_upright, turns.stored[:, 0]
        for place, name in enumerate(survey.names):
            number, copy = copies.get(place, ("", None))
            turn: list[Any] = ["", "", ""]
            if turns is not None and verdicts[place] != UNREADABLE:
                degrees = 90 * int(to_upright[place])
                turn = [f"{upright[place]:.4f}", degrees, verdicts[place]]
            kind = int(kinds.cluster[place])
            yield [
                name,
                survey.splits[place],
                survey.labels[place],
                "read",
                *(f"{value:.5f}" for value in self.places[place]),
                kind + 1,
                int(kinds.sizes[kind]),
                f"{self.oddness[place]:.4f}",
                *turn,
                number,
                "" if copy is None else copy.kind or "first",
                "" if copy is None else copy.angle,
            ]
        for name, reason in survey.unreadable.items():
            yield [name, "", "", f"unreadable: {reason}", *[""] * (len(COLUMNS) - 4)]

    def figures(self) -> dict[str, Any]:
        """The figures of the page, as plain values for JSON."""
        names = self.survey.names
        to_upright = np.empty(0, int) if self.turns is None else self.turns.turns.to_upright
        return {
            "images": len(self.survey),
            "unreadable": self.survey.unreadable,
            "features": self.survey.part,
            "clusters": [
                {"size": int(size), "examples": [names[i] for i in self.kinds.examples[kind]]}
                for kind, size in enumerate(self.kinds.sizes)
            ],
            "silhouette": {str(number): value for number, value in self.kinds.silhouette.items()},
            "duplicates": [
                [
                    {
                        "name": names[copy.place],
                        "kind": copy.kind,
                        "angle": copy.angle,
                        "score": copy.score,
                    }
                    for copy in group
                ]
                for group in self.groups
            ],
            "turned": None
            if self.turns is None
            else [
                {
                    "name": names[place],
                    "turn_degrees": 90 * int(to_upright[place]),
                    "probability": float(self.turns.turns.stored[place].max()),
                }
                for place in self.turns.turned().tolist()
            ],
            "turned_share": None if self.turns is None else self.turns.share,
            "turned_caveat": None if self.turns is None else self.turns.caveat,
            "odd": [
                {"name": names[place], "oddness": float(self.oddness[place])}
                for place in self.oddest()[:100].tolist()
            ],
        }


def explore_survey(
    survey: Survey,
    pictures: WholePictures,
    run: Run,
    crop: DataConfig,
    data: str,
    runtime: Runtime,
    *,
    clusters: int | None = None,
    seed: int = 0,
) -> Exploration:
    """Find out what a collection holds.

    Args:
        survey: Its images.
        pictures: The same as a whole each, by which copies are found.
        run: Whose network looks at them.
        crop: How it sees them.
        data: DATA that they are from.
        runtime: Where to compute what an `upright` run has not scored.
        clusters: Number of clusters; None to choose it.
        seed: Fixes map, clusters and samples.
    """
    words = run.path.name if run.imported is None else run.imported.file
    return Exploration(
        survey=survey,
        crop=crop,
        kinds=find_kinds(survey.features, number=clusters, seed=seed),
        oddness=oddness(survey.layers, seed=seed),
        groups=as_places_of(copies_in(pictures), pictures, survey),
        turns=stored_turns_of(survey, run, data, runtime),
        places=map_places(survey.features, seed=seed),
        seed=seed,
        network_words=words,
    )
