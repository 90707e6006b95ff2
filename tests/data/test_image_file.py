import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.image_file import UnreadableImageError, read_image, read_size

from .pictures import damaged_exif, noise, oriented, photo, save, stored, truncate

ORIENTATIONS = range(1, 9)


def pixels_of(path: Path, shrink: float = 1.0) -> np.ndarray:
    image = read_image(path, shrink)
    assert image.mode == "RGB"
    return np.asarray(image)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W, 3) and (H, W) of 0..255 to what is seen on white paper."""
    share = alpha[..., None] / 255.0
    return colour * share + 255 * (1 - share)


def assert_close(found: np.ndarray, expected: np.ndarray, levels: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.astype(float) - expected).max() <= levels


class TestModes:
    def test_rgb_comes_as_it_is(self, tmp_path):
        pixels = noise(0, 7, 9, 3)
        np.testing.assert_array_equal(pixels_of(save(tmp_path / "x.png", pixels)), pixels)

    def test_grey(self, tmp_path):
        grey = noise(1, 7, 9)
        found = pixels_of(save(tmp_path / "x.png", grey))
        np.testing.assert_array_equal(found, np.stack([grey] * 3, axis=2))

    def test_grey_with_transparency_shows_white(self, tmp_path):
        pixels = noise(2, 7, 9, 2)
        pixels[0, :, 1], pixels[1, :, 1] = 0, 255
        found = pixels_of(save(tmp_path / "x.png", pixels))
        grey = np.stack([pixels[..., 0]] * 3, axis=2)
        assert_close(found, on_white(grey, pixels[..., 1]), 1)
        assert (found[0] == 255).all()
        np.testing.assert_array_equal(found[1], grey[1])

    def test_rgba_shows_white(self, tmp_path):
        pixels = noise(3, 7, 9, 4)
        pixels[0, :, 3], pixels[1, :, 3] = 0, 255
        found = pixels_of(save(tmp_path / "x.png", pixels))
        assert_close(found, on_white(pixels[..., :3], pixels[..., 3]), 1)
        assert (found[0] == 255).all()
        np.testing.assert_array_equal(found[1], pixels[1, :, :3])

    @pytest.mark.parametrize(
        ("transparency", "alphas"),
        [
            (None, [255, 255, 255, 255]),
            (2, [255, 255, 0, 255]),
            (b"\x00\x80\xff\x40", [0, 128, 255, 64]),
        ],
        ids=["opaque", "one-colour", "by-colour"],
    )
    def test_palette(self, tmp_path, transparency, alphas):
        colours = np.array([[10, 20, 30], [200, 0, 0], [0, 150, 0], [90, 90, 250]], np.uint8)
        numbers = noise(4, 7, 9) % 4
        image = Image.fromarray(numbers).convert("P")
        image.putdata(numbers.ravel().tolist())
        image.putpalette(colours.ravel().tolist())
        options = {} if transparency is None else {"transparency": transparency}
        image.save(tmp_path / "x.png", **options)
        with Image.open(tmp_path / "x.png") as again:
            assert again.mode == "P"
        expected = on_white(colours[numbers], np.array(alphas)[numbers])
        assert_close(pixels_of(tmp_path / "x.png"), expected, 1)

    def test_cmyk_jpeg(self, tmp_path):
        # Flat blocks of 16 px, which JPEG keeps to a level or two.
        inks = noise(5, 2, 3, 4)
        image = Image.fromarray(inks.repeat(16, axis=0).repeat(16, axis=1), mode="CMYK")
        image.save(tmp_path / "x.jpg", quality=100, subsampling=0)
        with Image.open(tmp_path / "x.jpg") as again:
            assert again.mode == "CMYK"
        paper = (255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255
        assert_close(pixels_of(tmp_path / "x.jpg"), paper.repeat(16, axis=0).repeat(16, axis=1), 4)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_16_bits_are_scaled_not_clipped(self, tmp_path, suffix):
        eighths = np.arange(256).reshape(16, 16)
        path = save(tmp_path / f"x.{suffix}", (eighths * 257).astype(np.uint16))
        with Image.open(path) as again:
            assert again.mode.startswith("I")
        np.testing.assert_array_equal(pixels_of(path), np.stack([eighths] * 3, axis=2))

    def test_16_bits_round_to_the_nearest_level(self, tmp_path):
        values = np.array([[0, 128, 129, 385, 386, 65535 - 128, 65535 - 129, 65535]], np.uint16)
        found = pixels_of(save(tmp_path / "x.png", values))
        assert found[0, :, 0].tolist() == [0, 0, 1, 1, 2, 255, 254, 255]

    def test_big_endian_16_bits(self, tmp_path):
        values = np.array([[0, 257 * 7, 257 * 200, 65535]], np.uint16)
        image = Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes())
        image.save(tmp_path / "x.tif")
        assert pixels_of(tmp_path / "x.tif")[0, :, 0].tolist() == [0, 7, 200, 255]

    def test_1_bit(self, tmp_path):
        bits = noise(6, 7, 9) > 127
        found = pixels_of(save(tmp_path / "x.png", bits))
        np.testing.assert_array_equal(found, np.stack([bits * 255] * 3, axis=2))

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 257, 257 * 100, 65535], [0, 1, 100, 255]),  # 16-bit values in 32 bits
            ([-5, 0, 1_000_000, 2_000_000], [0, 0, 128, 255]),  # wider: the maximum is white
        ],
    )
    def test_32_bit_integers(self, tmp_path, values, expected):
        path = save(tmp_path / "x.tif", np.array([values], np.int32))
        assert pixels_of(path)[0, :, 0].tolist() == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.2, 0.5, 1.0], [0, 51, 128, 255]),
            ([0.0, 0.2, 0.3, 0.4], [0, 51, 76, 102]),  # not stretched
            ([-1.0, 0.0, 50.0, 500.0], [0, 0, 26, 255]),
            ([math.nan, 0.2, math.inf, 1.0], [0, 51, 0, 255]),
        ],
        ids=["unit", "dark", "wide", "missing"],
    )
    def test_32_bit_floats(self, tmp_path, values, expected):
        path = save(tmp_path / "x.tif", np.array([values], np.float32))
        found = pixels_of(path)[0, :, 0]
        assert np.abs(found.astype(int) - expected).max() <= 1

    def test_animation_shows_its_first_picture(self, tmp_path):
        first, second = (Image.new("RGB", (6, 5), colour) for colour in ("red", "blue"))
        first.save(tmp_path / "x.gif", save_all=True, append_images=[second])
        np.testing.assert_array_equal(pixels_of(tmp_path / "x.gif"), np.asarray(first))


class TestOrientation:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize(
        ("suffix", "options", "levels"),
        [
            ("png", {}, 0),
            ("tif", {}, 0),
            ("webp", {"lossless": True}, 0),
            ("jpg", {"quality": 95, "subsampling": 0}, 12),
        ],
    )
    def test_comes_in_upright(self, tmp_path, orientation, suffix, options, levels):
        upright = photo(orientation, 20, 34)
        path = save(
            tmp_path / f"x.{suffix}",
            stored(upright, orientation),
            exif=oriented(orientation),
            **options,
        )
        assert_close(pixels_of(path), upright, levels)
        assert read_size(path) == (20, 34)

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
    def test_other_modes(self, tmp_path, mode):
        upright = photo(1, 20, 34)
        plain = Image.fromarray(upright).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            plain = Image.fromarray(np.asarray(plain).astype(np.uint16) * 257)
        plain.save(tmp_path / "plain.png")
        # Orientation 8 stores the picture turned by a quarter, clockwise.
        plain.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "x.png", exif=oriented(8))
        np.testing.assert_array_equal(
            pixels_of(tmp_path / "x.png"), pixels_of(tmp_path / "plain.png")
        )
        assert read_size(tmp_path / "x.png") == (20, 34)

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_with_reduced_decoding(self, tmp_path, orientation):
        upright = photo(orientation, 160, 240)
        path = save(
            tmp_path / "x.jpg",
            stored(upright, orientation),
            exif=oriented(orientation),
            quality=95,
        )
        found = pixels_of(path, shrink=4.5)
        assert found.shape == (40, 60, 3)
        assert read_size(path) == (160, 240)  # the original's
        small = upright.reshape(40, 4, 60, 4, 3).mean(axis=(1, 3))
        assert_close(found, small, 12)

    @pytest.mark.parametrize("orientation", [0, 9, 77])
    def test_unknown_orientations_are_taken_as_upright(self, tmp_path, orientation):
        pixels = noise(7, 8, 12, 3)
        path = save(tmp_path / "x.png", pixels, exif=oriented(orientation))
        np.testing.assert_array_equal(pixels_of(path), pixels)
        assert read_size(path) == (8, 12)

    def test_damaged_metadata_do_not_lose_the_picture(self, tmp_path):
        upright = photo(3, 20, 34)
        path = save(
            tmp_path / "x.jpg", stored(upright, 6), exif=damaged_exif(6), quality=95, subsampling=0
        )
        assert_close(pixels_of(path), upright, 12)
        assert read_size(path) == (20, 34)


HEIGHT, WIDTH = 600, 1000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("large") / "x.jpg", photo(0, HEIGHT, WIDTH), quality=90)


class TestReducedDecoding:
    @pytest.mark.parametrize(
        ("shrink", "divisor"),
        [(1.0, 1), (1.99, 1), (2.0, 2), (3.9, 2), (4.0, 4), (7.99, 4), (8.0, 8), (30.0, 8)],
    )
    def test_is_as_small_as_allowed_and_no_smaller(self, large, shrink, divisor):
        image = read_image(large, shrink)
        assert image.size == (WIDTH // divisor, HEIGHT // divisor)
        assert image.width >= WIDTH / shrink
        assert image.height >= HEIGHT / shrink

    def test_odd_sizes_keep_the_promise(self, tmp_path):
        for width in range(101, 118):
            path = save(tmp_path / "x.jpg", noise(width, 93, width, 3))
            for shrink in (1.5, 2.01, 3.97, 4.03, 8.1, 100.0):
                image = read_image(path, shrink)
                assert image.width >= width / shrink
                assert image.height >= 93 / shrink

    @pytest.mark.parametrize("suffix", ["png", "webp", "bmp"])
    def test_other_formats_come_whole(self, tmp_path, suffix):
        path = save(tmp_path / f"x.{suffix}", photo(1, 100, 120))
        assert read_image(path, 4.0).size == (120, 100)

    def test_grey_and_cmyk(self, tmp_path):
        for mode in ("L", "CMYK"):
            Image.fromarray(photo(2, 160, 240)).convert(mode).save(tmp_path / "x.jpg", quality=95)
            found, whole = pixels_of(tmp_path / "x.jpg", 4.0), pixels_of(tmp_path / "x.jpg")
            assert_close(found, whole.reshape(40, 4, 60, 4, 3).mean(axis=(1, 3)), 8)

    def test_real_photos(self, houses):
        for path in sorted(houses.rglob("*.jpg"))[::6]:
            height, width = read_size(path)
            whole, small = read_image(path), read_image(path, 2.3)
            assert whole.size == (width, height)
            assert small.size == (math.ceil(width / 2), math.ceil(height / 2))
            expected = whole.reduce(2)
            assert np.abs(np.asarray(small, float) - np.asarray(expected, float)).mean() < 3


class TestUnreadable:
    def reason(self, path: Path, read=read_image) -> str:
        with pytest.raises(UnreadableImageError) as caught:
            read(path)
        assert str(path.parent) not in str(caught.value)
        return str(caught.value)

    def test_empty_file(self, tmp_path):
        (tmp_path / "x.jpg").write_bytes(b"")
        assert self.reason(tmp_path / "x.jpg") == "the file is empty"
        assert self.reason(tmp_path / "x.jpg", read_size) == "the file is empty"

    def test_missing_file(self, tmp_path):
        assert self.reason(tmp_path / "x.jpg") == "No such file or directory"
        assert self.reason(tmp_path / "x.jpg", read_size) == "No such file or directory"

    def test_folder(self, tmp_path):
        (tmp_path / "x.jpg").mkdir()
        assert "directory" in self.reason(tmp_path / "x.jpg", read_size)

    @pytest.mark.parametrize("read", [read_size, read_image])
    def test_text_under_an_image_name(self, tmp_path, read):
        (tmp_path / "x.jpg").write_text("Dear reader, this is no picture.\n")
        assert self.reason(tmp_path / "x.jpg", read) == "cannot identify image file 'x.jpg'"

    @pytest.mark.parametrize(
        "name", ["it's.jpg", "back\\slash.jpg", "café.jpg", os.fsdecode(b"caf\xe9.jpg")]
    )
    def test_names_that_python_writes_otherwise(self, tmp_path, name):
        folder = tmp_path / "back\\slash"
        folder.mkdir()
        try:
            (folder / name).write_text("no picture")
        except OSError:
            pytest.skip("the file system does not take this name")
        assert self.reason(folder / name).startswith("cannot identify image file ")
        assert str(tmp_path) not in self.reason(folder / name)

    @pytest.mark.parametrize("suffix", ["jpg", "webp", "tif", "bmp", "gif"])
    def test_truncated(self, tmp_path, suffix):
        path = truncate(save(tmp_path / f"x.{suffix}", noise(8, 60, 80, 3)), 0.6)
        assert self.reason(path)

    def test_truncated_jpeg_has_a_whole_header(self, tmp_path):
        path = truncate(save(tmp_path / "x.jpg", noise(9, 60, 80, 3)), 0.6)
        assert read_size(path) == (60, 80)
        assert "truncated" in self.reason(path)
        assert "truncated" in self.reason(path, lambda p: read_image(p, 2.0))

    def test_damaged_bytes_raise_nothing_else(self, tmp_path, recwarn):
        random = np.random.default_rng(0)
        pixels = photo(4, 20, 30)
        path = tmp_path / "x"
        outcomes = {"whole": 0, "unreadable": 0}
        for suffix in ("jpg", "png", "webp", "bmp"):
            whole = save(tmp_path / f"x.{suffix}", pixels, exif=oriented(6)).read_bytes()
            for _ in range(60):
                damaged = bytearray(whole)
                for place in random.integers(0, min(len(damaged), 200), 3):
                    damaged[place] = random.integers(256)
                path.write_bytes(damaged)
                for read in (read_size, read_image):
                    try:
                        read(path)
                        outcomes["whole"] += 1
                    except UnreadableImageError:
                        outcomes["unreadable"] += 1
        assert min(outcomes.values()) > 50
