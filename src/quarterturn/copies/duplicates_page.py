"""The page of `duplicates`, from what was found."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from PIL import Image

from quarterturn.copies.copies_shown import copy_words, group_shown, kind_words, varied
from quarterturn.copies.duplicate_groups import CORRELATION, DETAIL, Copy
from quarterturn.copies.found_copies import FoundCopies
from quarterturn.copies.keep_order import LARGEST, OLDEST
from quarterturn.copies.plates import Plates
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet
from quarterturn.pages.duplicates import DuplicatesPage
from quarterturn.pages.measures import Measure
from quarterturn.pages.sprite import make_sprite
from quarterturn.pages.tables import size_in_words
from quarterturn.progress import stage

MOST_GROUPS, MOST_IN_GROUP = 120, 8
PLATE_SIDE = 160
PLATE_BYTES = 2_400_000
"""Of all pictures, so that a page is below 5 MB."""

KEPT = {
    LARGEST: "the one with the most pixels, then the most bytes",
    OLDEST: "the one that was taken first, by EXIF or else by the file's time",
}


def duplicates_page(found: FoundCopies, out: Path) -> DuplicatesPage:
    """Lay out what was found.

    Args:
        found: It.
        out: The page's file, from which links lead to the images.
    """
    plates = Plates(found.pictures, out.parent, _whole, PLATE_SIDE, found.moved_to)
    shown = varied(found.groups)[:MOST_GROUPS]
    with stage("page", total=len(shown)) as bar:
        groups = []
        for group in shown:
            groups.append(
                group_shown(group, plates, MOST_IN_GROUP, lambda copy: _words(found, copy))
            )
            bar.advance()
    return DuplicatesPage(
        title=f"Duplicates in {found.pictures.source.name}",
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        summary=_summary(found),
        measures=_measures(found),
        facts=found.pictures.source.left_out(),
        unreadable=found.pictures.unreadable,
        plates=make_sprite(plates.pixels(), PLATE_BYTES),
        groups=groups,
        num_groups=len(found.groups),
        how=_how(found),
    )


def _whole(images: ImageSet, index: int) -> Image.Image:
    """A whole picture, upright, of `PLATE_SIDE` pixels at least where it has them."""
    try:
        image, _ = images.read_sized(index, lambda size: max(1.0, min(size) / PLATE_SIDE))
    except UnreadableImageError:  # it was read a moment ago; a grey square shows that it is gone
        return Image.new("RGB", (PLATE_SIDE, PLATE_SIDE), "grey")
    image.thumbnail((2 * PLATE_SIDE, 2 * PLATE_SIDE))
    return image


def _words(found: FoundCopies, copy: Copy) -> str:
    """What is said of an image below its picture."""
    height, width = found.pictures.sizes[copy.place]
    words = ["keep"] if found.keeps(copy) else []
    words += ["moved"] if copy.place in found.moved_to else []
    words += [copy_words(copy)] if copy.kind else []
    words.append(f"{width} x {height} px")
    if num_bytes := int(found.pictures.num_bytes[copy.place]):
        words.append(size_in_words(num_bytes))
    return " · ".join(words)


def _summary(found: FoundCopies) -> list[str]:
    if not found.groups:
        return [f"{len(found.pictures):,} images, and no two of them show the same picture."]
    copies = len(found.copies)
    are_copies = "1 is a copy" if copies == 1 else f"{copies:,} are copies"
    sentences = [
        f"{len(found.pictures):,} images; {are_copies} of another ({kind_words(found.copies)})."
    ]
    if found.moved_to:
        sentences.append(f"{len(found.moved_to):,} of them were moved.")
    else:
        sentences.append("No file was touched.")
    if across := found.num_across_splits:
        groups = "1 group is" if across == 1 else f"{across:,} groups are"
        sentences.append(f"{groups} spread over several splits.")
    return sentences


def _measures(found: FoundCopies) -> list[Measure]:
    meanings = {
        "exact": "the same bytes",
        "near": "resized, recompressed or slightly changed",
        "turned": "by 90, 180 or 270 degrees",
        "mirrored": "left to right, perhaps turned too",
    }
    return [
        Measure("Groups", f"{len(found.groups):,}", "of images that show the same picture"),
        *(
            Measure(kind.capitalize(), f"{number:,}", meanings[kind])
            for kind, number in found.num_by_kind.items()
        ),
        Measure("Size", size_in_words(found.num_bytes), "of all copies that need not be kept"),
    ]


def _how(found: FoundCopies) -> list[str]:
    kept = KEPT.get(found.keep, f"all below {found.keep}, or else the one with the most pixels")
    return [
        f"The first image of a group is the one to keep: {kept}.",
        "Exact copies have the same bytes. The others are compared with the first as small "
        "pictures of the whole image, in eight orientations: their pixels have to correlate by "
        f"{CORRELATION} or more, and to agree in detail by {DETAIL} or more.",
        "Scores are these correlations; angles are counter-clockwise from the first image, after "
        "it is mirrored where it is.",
        "Every image of a group was compared with its first. Pictures of one colour are copies by "
        "their bytes only.",
        "All groups are in duplicates.csv.",
    ]
