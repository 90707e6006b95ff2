"""Change the EXIF orientation of a JPEG file without touching its pixels.

A JPEG file is a sequence of segments, each with a marker and a length, then the coded image. One
segment may hold EXIF: a small TIFF file whose first directory may have an orientation.
"""

from __future__ import annotations

import re
import struct

ORIENTATION = 0x0112
"""The tag, in EXIF as in TIFF."""
CYCLES = ((1, 8, 3, 6), (2, 5, 4, 7))
"""Orientations in the order of counter-clockwise quarter turns: plain, and mirrored."""

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SHORT = 3
_MOST_IN_SEGMENT = 0xFFFF - 2  # bytes; the length counts itself

_START, _APP0, _APP1 = b"\xff\xd8", b"\xff\xe0", b"\xff\xe1"
_SCAN, _END = b"\xff\xda", b"\xff\xd9"


class ExifError(Exception):
    """A file whose orientation cannot be written; the message is only the reason."""


def turned_orientation(orientation: int, turns: int) -> int:
    """The orientation that displays an image turned.

    Args:
        orientation: The present orientation; values unknown to EXIF count as 1 (upright).
        turns: Quarter turns, counter-clockwise.
    """
    for cycle in CYCLES:
        if orientation in cycle:
            return cycle[(cycle.index(orientation) + turns) % 4]
    return turned_orientation(1, turns)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with another orientation and all other bytes unchanged.

    If the EXIF block has no orientation, a copy of its first directory with one is appended, so
    that no offset within the block changes. If there is no EXIF block, one is inserted after the
    JFIF header. An orientation in XMP is updated too.

    Args:
        jpeg: The file.
        orientation: 1 to 8.

    Raises:
        ExifError: The segments or the EXIF block are damaged, or the block is full.
    """
    segments, image_data = _parse(jpeg)
    blocks = [i for i, s in enumerate(segments) if s.startswith(_EXIF, 4) and s[:2] == _APP1]
    if len(blocks) > 1:
        raise ExifError(f"its EXIF is in {len(blocks)} parts")
    if blocks:
        block = segments[blocks[0]][4 + len(_EXIF) :]
        segments[blocks[0]] = _exif_segment(_with_tag(block, orientation))
    else:
        after_jfif = next((i for i, s in enumerate(segments) if s[:2] != _APP0), len(segments))
        block = b"II*\0" + struct.pack("<IH", 8, 1) + _tag("<", orientation) + bytes(4)
        segments.insert(after_jfif, _exif_segment(block))
    return _START + b"".join(_with_xmp_orientation(s, orientation) for s in segments) + image_data


def _parse(jpeg: bytes) -> tuple[list[bytes], bytes]:
    """The segments before the coded image, each with its marker, and the rest of the file."""
    if jpeg[:2] != _START:
        raise ExifError("it does not begin as a JPEG file")
    segments, place = [], 2
    while (marker := jpeg[place : place + 2]) not in (_SCAN, _END):
        if marker == b"\xff\xff":  # a fill byte
            length = 1
        elif len(marker) == 2 and marker[0] == 0xFF and place + 4 <= len(jpeg):
            length = 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        else:
            raise ExifError("its segments are damaged")
        segments.append(jpeg[place : place + length])
        place += length
    return segments, jpeg[place:]


def _exif_segment(block: bytes) -> bytes:
    content = _EXIF + block
    if len(content) > _MOST_IN_SEGMENT:
        raise ExifError("its EXIF block has no room for an orientation")
    return _APP1 + struct.pack(">H", len(content) + 2) + content


def _tag(order: str, orientation: int) -> bytes:
    """A directory's entry of 12 bytes."""
    return struct.pack(order + "HHIHH", ORIENTATION, _SHORT, 1, orientation, 0)


def _with_tag(block: bytes, orientation: int) -> bytes:
    """An EXIF block with another orientation in its first directory."""
    order = _ORDERS.get(block[:4])
    if order is None:
        raise ExifError("its EXIF block is damaged")
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
    except struct.error as error:
        raise ExifError("its EXIF block is damaged") from error
    end = start + 2 + 12 * count
    entries = [block[at : at + 12] for at in range(start + 2, min(end, len(block) - 11), 12)]

    def tag_of(entry: bytes) -> int:
        return struct.unpack_from(order + "H", entry)[0]

    if ORIENTATION in map(tag_of, entries):
        new = [_tag(order, orientation) if tag_of(e) == ORIENTATION else e for e in entries]
        return block[: start + 2] + b"".join(new) + block[start + 2 + 12 * len(entries) :]
    # Entries are in ascending order of tags; after them comes the offset of the thumbnail's
    # directory, or 0.
    entries = sorted([*entries, _tag(order, orientation)], key=tag_of)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries)
    directory += block[end : end + 4].ljust(4, b"\0")
    place = len(block) + len(block) % 2  # directories start at even offsets
    return (
        block[:4] + struct.pack(order + "I", place) + block[8:].ljust(place - 8, b"\0") + directory
    )


def _with_xmp_orientation(segment: bytes, orientation: int) -> bytes:
    """XMP may repeat the orientation as one digit; programs differ in which of the two they use."""
    if segment[:2] != _APP1 or not segment.startswith(_XMP, 4):
        return segment
    return re.sub(rb'(tiff:Orientation(?:="|>))[0-9]', rb"\g<1>%d" % orientation, segment)
