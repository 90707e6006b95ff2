"""What was found of the copies in a collection: the table, the figures, and what is to be moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.copies.duplicate_groups import EXACT, MIRRORED, NEAR, TURNED, Copy
from quarterturn.copies.whole_pictures import WholePictures

COLUMNS = [
    "group",
    "path",
    "split",
    "kind",
    "angle",
    "score",
    "keep",
    "width",
    "height",
    "bytes",
    "moved_to",
    "note",
]
"""Of ``duplicates.csv``."""
FIRST = "first"
"""Kind of the image to which the others of a group are compared."""


@dataclass(frozen=True)
class FoundCopies:
    """The copies in a collection.

    Attributes:
        pictures: Its images.
        groups: Groups of images that show the same picture; see `duplicate_groups`.
        is_kept: (n,) images that are kept whatever group they are in; None for none.
        keep: By which rule one image of each group is kept.
        data: DATA that the images are from.
        moved_to: Places of images that are to be moved, and where to.
    """

    pictures: WholePictures
    groups: list[list[Copy]]
    is_kept: NDArray[np.bool_] | None
    keep: str
    data: str
    moved_to: dict[int, Path] = field(default_factory=dict)

    def keeps(self, copy: Copy) -> bool:
        """Whether an image of a group is one to keep."""
        return not copy.kind or (self.is_kept is not None and bool(self.is_kept[copy.place]))

    @property
    def copies(self) -> list[Copy]:
        """All images that are not to be kept."""
        return [copy for group in self.groups for copy in group if not self.keeps(copy)]

    @property
    def num_by_kind(self) -> dict[str, int]:
        """Copies by kind, without those to keep."""
        counts = Counter(copy.kind for copy in self.copies)
        return {kind: counts[kind] for kind in (EXACT, NEAR, TURNED, MIRRORED)}

    @property
    def num_bytes(self) -> int:
        """Size of all copies that are not to be kept."""
        return int(sum(self.pictures.num_bytes[copy.place] for copy in self.copies))

    @property
    def num_across_splits(self) -> int:
        """Groups whose images are in several splits."""
        splits = self.pictures.splits
        return sum(len({splits[copy.place] for copy in group}) > 1 for group in self.groups)

    def movable(self, kinds: Collection[str]) -> dict[Path, int]:
        """Files of copies of some kinds that are not to be kept, and their places."""
        return {
            Path(real): copy.place
            for copy in self.copies
            if copy.kind in kinds
            and (real := self.pictures.real_files[copy.place]) is not None
            and not self.pictures.is_link[copy.place]
        }

    def rows(self) -> Iterator[Sequence[Any]]:
        """The lines of ``duplicates.csv``: every image of a group, then unreadable files."""
        pictures = self.pictures
        for number, group in enumerate(self.groups, start=1):
            for copy in group:
                place = copy.place
                moved_to = self.moved_to.get(place)
                yield [
                    number,
                    pictures.names[place],
                    pictures.splits[place],
                    copy.kind or FIRST,
                    copy.angle,
                    f"{copy.score:.4f}",
                    "yes" if self.keeps(copy) else "no",
                    int(pictures.sizes[place, 1]),
                    int(pictures.sizes[place, 0]),
                    int(pictures.num_bytes[place]) or "",
                    "" if moved_to is None else str(moved_to),
                    "a link: never moved" if pictures.is_link[place] else "",
                ]
        for name, reason in pictures.unreadable.items():
            yield ["", name, "", "unreadable", *[""] * (len(COLUMNS) - 5), reason]

    def figures(self) -> dict[str, Any]:
        """The figures of table and page, as plain values for JSON."""
        names = self.pictures.names
        return {
            "data": self.data,
            "images": len(self.pictures),
            "unreadable": self.pictures.unreadable,
            "keep": self.keep,
            "copies": self.num_by_kind,
            "bytes": self.num_bytes,
            "groups_across_splits": self.num_across_splits,
            "groups": [
                [
                    {
                        "name": names[copy.place],
                        "kind": copy.kind,
                        "angle": copy.angle,
                        "score": copy.score,
                        "keep": self.keeps(copy),
                    }
                    for copy in group
                ]
                for group in self.groups
            ],
            "moved": {names[place]: str(path) for place, path in self.moved_to.items()},
        }
