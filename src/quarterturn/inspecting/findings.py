"""What `doctor` finds in a collection, worst first, and what it merely notes.

A finding is what harms a training or its figures. A note is what is worth knowing: it is either
dealt with on reading, or so common in a collection that it must be the way its images are.

Shapes: n images that can be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.folder import list_files
from quarterturn.data.image_file import HEIC, UNSUPPORTED, heic_is_readable
from quarterturn.data.image_traits import ImageTraits
from quarterturn.data.imageset import FileImages
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.inspecting import finding_kinds as kinds
from quarterturn.inspecting.class_counts import ClassCounts
from quarterturn.inspecting.finding_kinds import Kind
from quarterturn.inspecting.inspection import Inspection
from quarterturn.inspecting.repeats import Repeat, Repeats

BLANK_SPREAD = 2.0
"""Grey levels of standard deviation below which an image is of one colour; the least of 8,000 real
images was 3.0, of a texture."""
DARK_BRIGHTNESS = 48
"""Level below which 99 % of the pixels of a very dark image lie; 2 of 8,000 real images did."""
BLURRED_SHARPNESS = 0.01
"""See `Appearance.sharpness`: the least of 8,000 real images was 0.017; photos that were blurred by
1.5 pixels at a short side of 256 had 0.006, and 91 % of them less than this."""
BLURRED_SIDE = 32
"""Pixels of the short side below which no image is called blurred: it has no detail to lose."""
SMALL = 0.5
"""Of the side that a training shows: smaller images are enlarged more than twice."""
LONG = 4.0
"""Times the short side from which the centre crop of an image leaves out three quarters of it."""
GREY_COLOUR = 2.0
"""Levels between the colour channels, in the mean, below which an image is grey."""
USUAL_SHARE = 0.2
"""Of the images: what more of them have in common is how the collection is."""
HEIC_WORD = ".heic"
"""Stands for all suffixes of HEIC files."""


@dataclass(frozen=True)
class Find:
    """One image, file or class of a finding.

    Attributes:
        name: The image, file or class.
        split: Its split; empty where it is in none.
        detail: What was found, in words.
        place: Its place among the n; None where it cannot be read, or is no image.
        other: The place of the image that it repeats.
    """

    name: str
    split: str = ""
    detail: str = ""
    place: int | None = None
    other: int | None = None


@dataclass(frozen=True)
class Finding:
    """All finds of one kind.

    Attributes:
        kind: What it is.
        finds: The images.
        share: Of all images that can be read; None where no images are counted.
        is_usual: Whether it is noted only because many images have it.
    """

    kind: Kind
    finds: Sequence[Find]
    share: float | None = None
    is_usual: bool = False

    @property
    def is_note(self) -> bool:
        """Whether it is no defect."""
        return self.kind.is_note or self.is_usual


def all_findings(
    found: Inspection, repeats: Repeats, classes: ClassCounts, image_size: int
) -> list[Finding]:
    """What was found, worst first, and notes after that.

    Args:
        found: The images.
        repeats: Those that repeat others.
        classes: Their classes.
        image_size: Side of the crops that a training shows.
    """
    findings = [
        Finding(kinds.UNREADABLE, _unreadable(found)),
        Finding(kinds.TOO_FEW, _too_few(found)),
        _repeated(found, kinds.ACROSS, repeats.across),
        _repeated(found, kinds.RELABELLED, repeats.relabelled),
        Finding(kinds.UNTRAINED_CLASS, [Find(name, split) for split, name in classes.untrained]),
        Finding(kinds.UNTESTED_CLASS, [Find(name, "train") for name in classes.untested]),
        Finding(kinds.UNSUPPORTED_FILE, _unsupported(found)),
        _repeated(found, kinds.WITHIN, repeats.within),
        *_of_looks(found, image_size),
        *_of_traits(found),
    ]
    ordered = sorted(findings, key=lambda finding: finding.is_note)
    return [finding for finding in ordered if finding.finds]


def is_grey(found: Inspection) -> NDArray[np.bool_]:
    """(n,) whether an image has no colours."""
    return found.look("colour") < GREY_COLOUR


def _unreadable(found: Inspection) -> list[Find]:
    return [
        Find(name, found.unreadable_splits.get(name, ""), reason)
        for name, reason in found.unreadable.items()
    ]


def _too_few(found: Inspection) -> list[Find]:
    count = sum(found.split_names[split] == "train" for split in found.splits.tolist())
    return [] if count >= MIN_IMAGES else [Find("train", "train", f"{count} can be read")]


def _repeated(found: Inspection, kind: Kind, repeats: Sequence[Repeat]) -> Finding:
    finds = []
    for one in repeats:
        other = f"{found.name(one.of)} ({found.split_of(one.of)})"
        detail = f"{one.how} as {other}"
        if one.labels is not None:
            detail = f"label {one.labels[0]!r}; {other} has {one.how}, label {one.labels[1]!r}"
        split = found.split_of(one.place)
        finds.append(Find(found.name(one.place), split, detail, one.place, one.of))
    return Finding(kind, finds, len(finds) / max(1, len(found)))


def _unsupported(found: Inspection) -> list[Find]:
    """Files of formats that are not read: by name where they lie in a folder, else by suffix."""
    source = found.source
    counts = Counter({suffix: n for suffix, n in source.ignored.items() if suffix in UNSUPPORTED})
    counts[HEIC_WORD] += source.num_heic
    suffixes = UNSUPPORTED if heic_is_readable() else UNSUPPORTED | HEIC
    finds = []
    for split, images in source.all_splits.items() if +counts else ():
        if isinstance(images, FileImages) and images.are_files and images.root.is_dir():
            for name in list_files(images.root):
                if (suffix := name[name.rfind(".") :].lower()) in suffixes:
                    finds.append(Find(source.file_of(split, name), split, suffix))
    if len(finds) == counts.total():
        return finds
    return [Find(f"{n:,} {suffix}", "", suffix) for suffix, n in sorted((+counts).items())]


def _of_looks(found: Inspection, image_size: int) -> list[Finding]:
    """Blank, very dark, blurred, small and long images; no image is two of the first three."""
    spread, brightness = found.look("spread"), found.look("brightness")
    sharpness = found.look("sharpness")
    short, long = found.sizes.min(axis=1), found.sizes.max(axis=1)
    blank = spread < BLANK_SPREAD
    dark = ~blank & (brightness < DARK_BRIGHTNESS)
    blurred = ~blank & ~dark & (sharpness < BLURRED_SHARPNESS) & (short >= BLURRED_SIDE)
    size = [f"{width} x {height} px" for height, width in found.sizes.tolist()]
    return [
        _of(found, kinds.BLANK, blank, lambda i: f"the pixels vary by {spread[i]:.1f} levels"),
        _of(found, kinds.DARK, dark, lambda i: f"99 % of the pixels are below {brightness[i]:.0f}"),
        _of(found, kinds.BLURRED, blurred, lambda i: f"sharpness {sharpness[i]:.4f}"),
        _of(found, kinds.SMALL_IMAGE, short < SMALL * image_size, lambda i: size[i]),
        _of(found, kinds.LONG_IMAGE, long > LONG * short, lambda i: size[i]),
    ]


def _of_traits(found: Inspection) -> list[Finding]:
    animated, pages = found.has(ImageTraits.ANIMATED), found.has(ImageTraits.PAGES)
    noted = [
        (kinds.TURNED, found.has(ImageTraits.TURNED)),
        (kinds.GREY, is_grey(found)),
        (kinds.WIDE, found.has(ImageTraits.WIDE)),
        (kinds.CMYK, found.has(ImageTraits.CMYK)),
        (kinds.TRANSPARENT, found.has(ImageTraits.TRANSPARENT)),
        (kinds.PALETTE, found.has(ImageTraits.PALETTE)),
    ]
    return [
        _of(found, kinds.ANIMATED, animated | pages, lambda i: "pages" if pages[i] else "frames"),
        *(_of(found, kind, has, lambda i: "") for kind, has in noted),
    ]


def _of(
    found: Inspection, kind: Kind, has: NDArray[np.bool_], detail: Callable[[int], str]
) -> Finding:
    """The images of a kind; only noted where many have it in common."""
    places = np.flatnonzero(has).tolist()
    share = len(places) / max(1, len(found))
    finds = [Find(found.name(i), found.split_of(i), detail(i), i) for i in places]
    return Finding(kind, finds, share, kind.may_be_usual and share > USUAL_SHARE)
