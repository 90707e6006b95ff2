"""The objects in an image, from an annotation of PASCAL VOC.

A file of ``Annotations`` is XML: the image's ``size``, and each ``object`` with its ``name``, its
``bndbox`` in pixels counted from 1, corners included, and whether it is ``difficult``.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree


class AnnotationError(Exception):
    """Why an annotation cannot be used."""


class Box(NamedTuple):
    """A box in pixels counted from 0, corners included."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class VocObject:
    """An object in an image.

    Attributes:
        name: Its class.
        difficult: Whether it counts neither as found nor as missed.
        box: None where the annotation has none that can be used.
    """

    name: str
    difficult: bool
    box: Box | None


@dataclass(frozen=True)
class Annotation:
    """The objects in an image.

    Attributes:
        objects: In the order of the file.
        bad_boxes: What was wrong with boxes that are left out or were cut, one line each.
    """

    objects: tuple[VocObject, ...]
    bad_boxes: tuple[str, ...]


def read_annotation(file: Path, height: int, width: int) -> Annotation:
    """Read an annotation, with the boxes that lie in its image.

    Boxes that are reversed, without area or outside the image have no use and are left out; those
    that reach beyond its edge are cut there.

    Args:
        file: The XML file.
        height: The image's height in pixels; 0 where it is not known, and the annotation's counts.
        width: Its width, likewise.

    Raises:
        AnnotationError: The file cannot be read, is of an image of another size, or an object has
            no name or no box of four numbers.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except FileNotFoundError:
        raise AnnotationError(f"no annotation {file.name} in {file.parent.name}") from None
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise AnnotationError(f"its annotation {file.name} cannot be read: {error}") from error
    sides = [root.findtext(f"size/{side}", "").strip() for side in ("width", "height")]
    about = tuple(int(side) if side.isdecimal() else 0 for side in sides)
    if all(about) and height and about != (width, height):
        raise AnnotationError(
            f"its annotation {file.name} is of an image of {about[0]}x{about[1]} px, and it has "
            f"{width}x{height}"
        )
    if not height:
        width, height = about if all(about) else (sys.maxsize, sys.maxsize)
    objects, bad_boxes = [], []
    for number, element in enumerate(root.iter("object"), 1):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise AnnotationError(f"object {number} of its annotation {file.name} has no name")
        written = _corners(element, f"object {number} of its annotation {file.name}")
        box, fault = _within(written, height, width)
        if fault:
            bad_boxes.append(f"{name} at {', '.join(f'{side:g}' for side in written)}: {fault}")
        difficult = (element.findtext("difficult") or "0").strip() == "1"
        objects.append(VocObject(name, difficult, box))
    return Annotation(tuple(objects), tuple(bad_boxes))


def _corners(element: ElementTree.Element, where: str) -> tuple[float, float, float, float]:
    """The corners as written, counted from 1."""
    found = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = element.findtext(f"bndbox/{side}")
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise AnnotationError(f"{where} has {text!r} for {side}; expected a number")
        found.append(value)
    left, top, right, bottom = found
    return left, top, right, bottom


def _within(
    corners: tuple[float, float, float, float], height: int, width: int
) -> tuple[Box | None, str]:
    """The part of a box in the image, counted from 0, and what was wrong with it."""
    left, top, right, bottom = corners
    if right < left or bottom < top:
        return None, "reversed, left out"
    if right == left or bottom == top:
        return None, "without area, left out"
    if right < 1 or bottom < 1 or left > width or top > height:
        return None, f"outside the image of {width}x{height} px, left out"
    cut = (max(left, 1.0), max(top, 1.0), min(right, width), min(bottom, height))
    if cut[0] == cut[2] or cut[1] == cut[3]:
        return None, f"outside the image of {width}x{height} px but for its edge, left out"
    fault = "" if cut == corners else f"cut at the edge of the image of {width}x{height} px"
    return Box(*(side - 1 for side in cut)), fault
