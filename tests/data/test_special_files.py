"""Files that are no image files, or not what their names say: named, and never waited for."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.file_table import FileTable, unknown_rows
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import (
    READABLE,
    UNSUPPORTED,
    Decoding,
    UnreadableImageError,
    read_image,
    read_size,
)
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import noise, save, save_photo


@pytest.fixture
def photos(tmp_path):
    for i in range(12):
        save_photo(tmp_path / f"{i:02d}.png", i, 12, 16)
    return tmp_path


def make_special(folder):
    """Specials with their names; a socket's path must be short, so it is made by a relative one."""
    os.mkfifo(folder / "pipe.jpg")
    here = os.getcwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket.jpg")
    finally:
        os.chdir(here)
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "link.jpg").symlink_to(folder / "pipe.jpg")
    return ["device.jpg", "link.jpg", "pipe.jpg", "socket.jpg"]


def test_pipes_sockets_and_devices_are_not_opened(photos):
    names = make_special(photos)
    source = open_source(str(photos), max_bad_fraction=1.0)
    assert len(source.train) == 12
    assert source.unreadable == dict.fromkeys(names, "not a regular file")
    for name in names:
        for read in (read_size, read_image):
            with pytest.raises(UnreadableImageError, match=r"^not a regular file$"):
                read(photos / name)


def test_pipes_in_a_manifest_are_not_opened(photos):
    names = make_special(photos)
    lines = [f"{i:02d}.png" for i in range(12)] + names
    (photos / "list.csv").write_text("path\n" + "\n".join(lines))
    source = open_source(str(photos / "list.csv"), max_bad_fraction=1.0)
    assert source.unreadable == dict.fromkeys(names, "not a regular file")


@pytest.mark.parametrize("name", ["list.csv", "set.npz"])
def test_a_pipe_is_no_source(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is not a regular file"):
        open_source(str(tmp_path / name))


def test_a_file_replaced_by_a_pipe_is_not_opened(photos):
    images = open_source(str(photos)).train
    (photos / "03.png").unlink()
    os.mkfifo(photos / "03.png")
    with pytest.raises(UnreadableImageError, match="not a regular file"):
        images.read(3)


def test_image_formats_are_never_called_no_images(photos):
    for suffix in sorted(UNSUPPORTED):
        (photos / f"x{suffix}").write_bytes(b"x")
    (photos / "notes.txt").write_text("x")
    lines = open_source(str(photos)).summary()
    assert "ignored files that are not images: 1 .txt" in lines
    (left_out,) = [line for line in lines if line.startswith("left out images of formats")]
    for suffix in (".jxl", ".dng", ".cr2", ".nef", ".psd", ".tga"):
        assert f"1 {suffix}" in left_out
    assert left_out.endswith("convert them to PNG, TIFF or JPEG")


@pytest.mark.skipif(".avif" not in READABLE, reason="this Pillow reads no AVIF")
def test_avif_is_read(photos):
    Image.fromarray(noise(0, 16, 20, 3)).save(photos / "x.avif")
    source = open_source(str(photos))
    assert source.train.names[-1] == "x.avif"
    assert source.train.read(12).size == (20, 16)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file under another name; to read it: pip"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL file; convert it"),
    ],
    ids=["heic", "jxl"],
)
def test_formats_under_another_name_are_named(photos, head, words):
    (photos / "x.jpg").write_bytes(head + bytes(200))
    (reason,) = open_source(str(photos), max_bad_fraction=0.5).unreadable.values()
    assert reason.startswith(words)


def test_large_images_are_left_out_by_their_size(photos, recwarn):
    Image.new("1", (300, 200)).save(photos / "large.png")
    with pytest.raises(DataError, match="300 x 200 pixels are more than --max-pixels 59999"):
        open_source(str(photos), max_pixels=59999)
    source = open_source(str(photos), max_pixels=60000)
    assert source.train.names[-1] == "large.png"
    save(photos / "large.png", noise(0, 301, 200, 3))
    with pytest.raises(UnreadableImageError, match="200 x 301 pixels are more than --max-pixels"):
        source.train.read(12)
    assert not recwarn.list


def test_pillows_limit_neither_warns_nor_refuses(photos, recwarn, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses above twice of it
    source = open_source(str(photos))
    assert len(source.train) == 12
    assert source.train.read(0).size == (16, 12)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not recwarn.list


def test_verify_does_not_decode_what_is_too_large(photos):
    index = HeaderIndex("x", verify=True, max_pixels=100)
    facts = index.inspect(FileTable(str(photos), ["00.png"], unknown_rows(1)), [0])
    assert facts.table[0, 3:].tolist() == [12, 16]
    with pytest.raises(UnreadableImageError, match="--max-pixels 100"):
        read_image(photos / "00.png", decoding=Decoding(max_pixels=100))


@pytest.mark.parametrize("junk", range(20))
def test_random_bytes_are_an_unreadable_image(tmp_path, junk):
    draw = np.random.default_rng(junk)
    heads = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"RIFF", b"BM"]
    path = tmp_path / "x.png"
    path.write_bytes(heads[junk % len(heads)] + draw.bytes(int(draw.integers(0, 400))))
    with pytest.raises(UnreadableImageError):
        read_image(path)
