from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn.data import turned_files
from quarterturn.data.image_file import read_image
from quarterturn.data.turned_files import CannotTurnError, write_turned

from .pictures import ORIENTATION, noise, oriented, photo, save, stored, truncate

ORIENTATIONS, TURNS = range(1, 9), range(4)


def shown(path: Path) -> np.ndarray:
    return np.asarray(read_image(path))


def assert_turned(source: Path, target: Path, turns: int) -> None:
    before = source.read_bytes()
    write_turned(source, target, turns)
    np.testing.assert_array_equal(shown(target), np.rot90(shown(source), turns))
    assert source.read_bytes() == before
    assert list(target.parent.glob("*.partial")) == []


def refusal(source: Path, turns: int = 1) -> str:
    target = source.with_name(f"turned-{source.name}")
    with pytest.raises(CannotTurnError) as caught:
        write_turned(source, target, turns)
    assert sorted(source.parent.glob("*turned*")) == []
    return str(caught.value)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("jpg", {"icc_profile": b"profile" * 9}),
        ("png", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
    ],
)
def test_a_copy_shows_the_picture_turned(tmp_path, orientation, turns, suffix, options):
    pixels = stored(photo(orientation, 20, 34), orientation)
    source = save(tmp_path / f"x.{suffix}", pixels, exif=oriented(orientation), **options)
    assert_turned(source, tmp_path / f"y.{suffix}", turns)
    with Image.open(tmp_path / f"y.{suffix}") as copy:
        assert copy.info.get("compression") == options.get("compression")
        if suffix != "jpg":  # turned pixels, which are not to be turned once more
            assert copy.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("turns", TURNS)
def test_a_jpeg_keeps_its_coded_picture(tmp_path, turns):
    for name, options in [("plain", {}), ("exif", {"exif": oriented(7)}), ("cmyk", {})]:
        picture = Image.fromarray(photo(3)).convert("CMYK" if name == "cmyk" else "RGB")
        source = tmp_path / f"{name}.jpg"
        picture.save(source, quality=70, progressive=True, **options)
        assert_turned(source, tmp_path / "y.jpg", turns)
        before, after = source.read_bytes(), (tmp_path / "y.jpg").read_bytes()
        scan = before.index(b"\xff\xda")
        assert after[-len(before[scan:]) :] == before[scan:]


def test_several_pictures_of_a_telephone_stay_together(tmp_path):
    first, second = (Image.fromarray(photo(seed)) for seed in (1, 2))
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[second])
    assert_turned(tmp_path / "x.jpg", tmp_path / "y.jpg", 1)
    with Image.open(tmp_path / "x.jpg") as before, Image.open(tmp_path / "y.jpg") as copy:
        assert (copy.format, copy.n_frames) == ("MPO", 2)
        before.seek(1)
        copy.seek(1)
        np.testing.assert_array_equal(np.asarray(copy), np.asarray(before))


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *(("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *(("tif", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")),
        *(("bmp", mode) for mode in ("1", "L", "P", "RGB")),
        *(("ppm", mode) for mode in ("1", "L", "RGB", "I")),
        ("webp", "RGBA"),
        ("gif", "P"),
    ],
)
def test_mode_and_values_are_kept(tmp_path, suffix, mode):
    deep = Image.fromarray(noise(1, 9, 12).astype(np.int32) * 255)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(deep).astype(np.uint16))
    elif mode in ("I", "F"):
        picture = deep.convert(mode)
    else:
        values = noise(1, 9, 12, 4)
        values[0, :, 3] = 0  # transparent pixels have a colour too
        picture = Image.fromarray(values)
        picture = picture if mode == "RGBA" else picture.convert("RGB").convert(mode)
    source, target = tmp_path / f"x.{suffix}", tmp_path / f"y.{suffix}"
    picture.save(source, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    assert_turned(source, target, 1)
    with Image.open(source) as before, Image.open(target) as copy:
        assert (copy.format, copy.mode) == (before.format, before.mode)
        np.testing.assert_array_equal(np.asarray(copy), np.rot90(np.asarray(before)))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_keeps_the_text_chunks_of_the_picture(tmp_path, suffix):
    exif = oriented(6)
    exif[0x010E] = "a house"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    source = save(
        tmp_path / f"x.{suffix}",
        photo(1),
        exif=exif.tobytes(),
        dpi=(100, 200),
        icc_profile=b"profile" * 9,
    )
    for turns, dpi in [(1, (100, 200)), (2, (200, 100))]:  # orientation 6 is sideways already
        assert_turned(source, tmp_path / f"y.{suffix}", turns)
        with Image.open(source) as before, Image.open(tmp_path / f"y.{suffix}") as copy:
            found = copy.getexif()
            assert found[0x010E] == "a house"
            assert found.get_ifd(0x8769) == before.getexif().get_ifd(0x8769) != {}
            assert copy.info["icc_profile"] == b"profile" * 9
            if suffix != "webp":
                assert copy.info["dpi"] == pytest.approx(dpi, rel=1e-3)


def test_png_keeps_its_texts_but_no_xmp_orientation(tmp_path):
    texts = turned_files.PngImagePlugin.PngInfo()
    texts.add_text("Author", "somebody")
    texts.add_itxt("XML:com.adobe.xmp", '<rdf tiff:Orientation="6"/>')
    source = save(tmp_path / "x.png", photo(1, 20, 34), pnginfo=texts)
    assert shown(source).shape == (34, 20, 3)
    assert_turned(source, tmp_path / "y.png", 2)
    with Image.open(tmp_path / "y.png") as copy:
        assert copy.text == {"Author": "somebody"}


def test_a_lossy_webp_becomes_a_lossless_one(tmp_path):
    source = save(tmp_path / "x.webp", photo(1), quality=50)
    assert b"VP8 " in source.read_bytes()[:40]
    assert_turned(source, tmp_path / "y.webp", 3)
    assert b"VP8L" in (tmp_path / "y.webp").read_bytes()[:40]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_several_pictures_are_refused(tmp_path, suffix):
    first, second = (Image.fromarray(photo(seed)) for seed in (1, 2))
    first.save(tmp_path / f"x.{suffix}", save_all=True, append_images=[second])
    assert refusal(tmp_path / f"x.{suffix}") == "it holds 2 images, and only the first was read"


def test_formats_with_loss_are_refused(tmp_path):
    source = save(tmp_path / "x.jp2", photo(1))
    assert refusal(source) == "JPEG2000 files cannot be turned without loss"
    source = save(tmp_path / "x.tif", noise(1, 40, 52, 3), compression="jpeg")
    assert refusal(source) == "the turned copy would not have the same pixels"


def test_values_that_reading_would_change_are_refused(tmp_path):
    (tmp_path / "x.ppm").write_bytes(b"P6 2 1 100 " + bytes([0, 50, 100, 1, 2, 3]))
    (tmp_path / "y.ppm").write_bytes(b"P6 2 1 65535 " + bytes(range(12)))
    deep = b"\0\1" * (2 * 3 * 3)  # 16 bits of RGB, which Pillow does not write
    rows = b"".join(b"\0" + deep[i : i + 12] for i in range(0, len(deep), 12))
    with open(tmp_path / "x.png", "wb") as file:
        put = turned_files.PngImagePlugin.putchunk
        file.write(b"\x89PNG\r\n\x1a\n")
        put(file, b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 3, 16, 2, 0, 0, 0]))
        put(file, b"IDAT", turned_files.PngImagePlugin.zlib.compress(rows))
        put(file, b"IEND", b"")
    for name in ("x.ppm", "y.ppm", "x.png"):
        assert shown(tmp_path / name).shape[2] == 3
        assert refusal(tmp_path / name) == "it has more bits per value than the copy would keep"


@pytest.mark.parametrize("suffix", ["jpg", "tif", "bmp", "gif", "webp"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    source = truncate(save(tmp_path / f"x.{suffix}", noise(8, 60, 80, 3)), 0.6)
    assert str(tmp_path) not in refusal(source)
    assert refusal(tmp_path / "none.jpg") == "No such file or directory"


def test_a_copy_that_shows_something_else_takes_no_place(tmp_path, monkeypatch):
    source = save(tmp_path / "x.jpg", photo(1))
    monkeypatch.setattr(turned_files, "turned_orientation", lambda orientation, turns: 5)
    assert refusal(source) == "the turned copy would not have the same pixels"
    (tmp_path / "y.jpg").write_bytes(b"an older copy")
    with pytest.raises(CannotTurnError):
        write_turned(source, tmp_path / "y.jpg", 1)
    assert (tmp_path / "y.jpg").read_bytes() == b"an older copy"
