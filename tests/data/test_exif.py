import re
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from quarterturn.data.exif import ORIENTATION, ExifError, turned_orientation, with_orientation
from quarterturn.data.image_file import read_image

from .pictures import damaged_exif, oriented, photo, stored

ORIENTATIONS = range(1, 9)
MAKE = b"Maker\0!"  # of an odd length


def jpeg(exif: bytes | Image.Exif = b"", seed: int = 1, **options: object) -> bytes:
    """A JPEG file of 20 x 34 px with a JFIF header and a colour profile."""
    buffer = BytesIO()
    pixels = Image.fromarray(photo(seed, 20, 34))
    pixels.save(buffer, "JPEG", exif=exif, icc_profile=b"profile" * 9, quality=95, **options)
    return buffer.getvalue()


def block(order: str, entries: list[tuple[int, int, int, bytes]], after: int = 0) -> bytes:
    """An EXIF block of one directory, by hand: tag, type, count, 4 bytes of value."""
    header = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    packed = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    count, behind = struct.pack(order + "H", len(entries)), struct.pack(order + "I", after)
    return b"Exif\0\0" + header + count + packed + behind


def coded(data: bytes) -> bytes:
    """From the start of the scan on: the coded picture."""
    return data[data.index(b"\xff\xda") :]


def shown(data: bytes, path: Path) -> np.ndarray:
    path.write_bytes(data)
    return np.asarray(read_image(path))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turned_orientations_show_the_picture_turned(orientation, turns):
    # By the standard's own account of rows and columns: what is stored stays what it is.
    upright = photo(0, 5, 7)
    turned = np.rot90(upright, turns)
    again = stored(turned, turned_orientation(orientation, turns))
    np.testing.assert_array_equal(again, stored(upright, orientation))


def test_unknown_orientations_count_as_upright():
    assert [turned_orientation(n, 1) for n in (0, 9, 77)] == [8, 8, 8]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_changes_only_the_tag_where_there_is_one(tmp_path, orientation, order):
    entries = [
        (0x010E, 2, 4, b"abc\0"),
        (ORIENTATION, 3, 1, struct.pack(order + "HH", 6, 0)),
        (0x0128, 3, 1, struct.pack(order + "HH", 2, 0)),
    ]
    before = jpeg(block(order, entries))
    after = with_orientation(before, orientation)
    assert len(after) == len(before)
    changed = [i for i in range(len(before)) if before[i] != after[i]]
    assert len(changed) == (orientation != 6)
    assert shown(after, tmp_path / "x.jpg").shape == ((20, 34, 3), (34, 20, 3))[orientation > 4]
    with Image.open(tmp_path / "x.jpg") as image:
        exif = image.getexif()
        assert (exif[ORIENTATION], exif[0x010E], exif[0x0128]) == (orientation, "abc", 2)


def test_a_tag_of_another_type_becomes_a_short_number():
    wide = block(">", [(ORIENTATION, 4, 1, struct.pack(">I", 3))])
    after = with_orientation(jpeg(wide), 8)
    assert struct.pack(">HHIHH", ORIENTATION, 3, 1, 8, 0) in after


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_directory_without_the_tag_gets_it(tmp_path, order):
    make = struct.pack(order + "I", 8 + 2 + 2 * 12 + 4)  # the text lies behind the directory
    entries = [(0x010F, 2, 6, make), (0x0128, 3, 1, struct.pack(order + "HH", 3, 0))]
    before = jpeg(block(order, entries) + MAKE)
    after = with_orientation(before, 8)
    assert coded(after) == coded(before)
    path = tmp_path / "x.jpg"
    np.testing.assert_array_equal(
        shown(after, path), np.rot90(shown(before, tmp_path / "before.jpg"))
    )
    with Image.open(path) as image:
        exif = image.getexif()
        assert dict(exif) == {0x010F: "Maker", ORIENTATION: 8, 0x0128: 3}
        assert image.info["icc_profile"] == b"profile" * 9
    end = after.index(b"\xff\xe1") + 2
    end += struct.unpack_from(">H", after, end)[0]
    tags = [struct.unpack_from(order + "H", after, end - 4 - 12 * i)[0] for i in (3, 2, 1)]
    assert tags == [0x010F, ORIENTATION, 0x0128]  # ascending, as TIFF wants them
    (place,) = struct.unpack_from(order + "I", after, after.index(b"Exif\0\0") + 10)
    assert place % 2 == 0
    # All that was there is still there, at the same offsets within the block.
    old, new = before.index(b"Exif\0\0"), after.index(b"Exif\0\0")
    assert after[new + 14 :].startswith(before[old + 14 : old + 6 + 38 + len(MAKE)])


def test_the_thumbnail_is_still_found(tmp_path):
    # A second directory behind the first, as cameras write it: its offset is in the copy too.
    second = struct.pack("<HHHII", 1, 0x0103, 3, 1, 6) + bytes(4)
    entries = [(0x010E, 2, 4, b"abc\0")]
    before = jpeg(block("<", entries, after=8 + 2 + 12 + 4) + second)
    (tmp_path / "x.jpg").write_bytes(with_orientation(before, 3))
    with Image.open(tmp_path / "x.jpg") as image:
        exif = image.getexif()
        assert exif[ORIENTATION] == 3
        assert exif.get_ifd(ExifTags.IFD.IFD1) == {0x0103: 6}


@pytest.mark.parametrize("with_jfif", [True, False])
def test_a_file_without_exif_gets_a_block(tmp_path, with_jfif):
    before = jpeg()
    if not with_jfif:
        assert before[2:4] == b"\xff\xe0"
        before = before[:2] + before[4 + struct.unpack(">H", before[4:6])[0] :]
    after = with_orientation(before, 6)
    place = 4 + struct.unpack(">H", before[4:6])[0] if with_jfif else 2
    added = len(after) - len(before)
    assert after[:place] + after[place + added :] == before
    assert after[place : place + 2] == b"\xff\xe1"
    expected = np.rot90(shown(before, tmp_path / "before.jpg"), -1)
    np.testing.assert_array_equal(shown(after, tmp_path / "x.jpg"), expected)


def test_xmp_is_kept_in_step(tmp_path):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" a="tiff:Orientation"/></x:xmpmeta>'
    before = jpeg(xmp=xmp)
    after = with_orientation(before, 3)
    assert xmp.replace(b'"6"', b'"3"') in after
    assert len(re.findall(b"Exif\0\0", after)) == 1
    (tmp_path / "x.jpg").write_bytes(after)
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.getexif()[ORIENTATION] == 3


def test_damaged_metadata_that_can_be_read_can_be_written(tmp_path):
    before = jpeg(damaged_exif(6))
    after = with_orientation(before, 1)
    assert sum(a != b for a, b in zip(after, before, strict=True)) == 1
    assert shown(after, tmp_path / "x.jpg").shape == (20, 34, 3)


def test_bytes_that_fill_up_are_kept(tmp_path):
    before = jpeg(oriented(1))
    place = before.index(b"\xff\xe1")
    filled = before[:place] + b"\xff\xff" + before[place:]
    after = with_orientation(filled, 3)
    assert sum(a != b for a, b in zip(after, filled, strict=True)) == 1
    expected = np.rot90(shown(before, tmp_path / "before.jpg"), 2)
    np.testing.assert_array_equal(shown(after, tmp_path / "x.jpg"), expected)


class TestRefused:
    def reason(self, data: bytes) -> str:
        with pytest.raises(ExifError) as caught:
            with_orientation(data, 3)
        return str(caught.value)

    def test_no_jpeg(self):
        assert "does not begin as a JPEG" in self.reason(b"\x89PNG")

    @pytest.mark.parametrize("length", [2, 3, 5, 30])
    def test_ends_before_the_picture(self, length):
        assert self.reason(jpeg()[:length]) == "its segments are damaged"

    def test_no_order_of_bytes(self):
        assert self.reason(jpeg(b"Exif\0\0XX*\0" + bytes(20))) == "its EXIF block is damaged"

    def test_directory_beyond_the_end(self):
        assert "damaged" in self.reason(jpeg(b"Exif\0\0II*\0" + struct.pack("<I", 5000)))

    def test_two_blocks(self):
        one = jpeg(oriented(1))
        start = one.index(b"\xff\xe1")
        block = one[start : start + 2 + struct.unpack(">H", one[start + 2 : start + 4])[0]]
        assert self.reason(one[:start] + block + one[start:]) == "its EXIF is in 2 parts"

    def test_no_room(self):
        def filled(entry: bytes, size: int) -> bytes:
            head = block("<", [(struct.unpack("<H", entry[:2])[0], 2, 4, b"abc\0")])
            return jpeg(head + bytes(size - len(head)))

        other, most = struct.pack("<H", 0x010E), 0xFFFF - 2
        added = 2 + 2 * 12 + 4  # a directory of two entries
        assert "no room" in self.reason(filled(other, most - added + 1))
        assert len(with_orientation(filled(other, most - added - 1), 3)) > most
        with_orientation(filled(struct.pack("<H", ORIENTATION), most), 3)  # no longer than before
