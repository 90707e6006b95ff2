"""Damaged image files of every format: an image or a reason, and no other error."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.image_file import UnreadableImageError, read_image, read_size

from .pictures import oriented, photo

CASES = int(os.environ.get("FUZZ_CASES", "300"))
"""Damaged files of each test run; more by the environment variable."""


def whole_files() -> list[tuple[str, bytes]]:
    grey = photo(1)[..., 0]
    made = [("jpg", Image.fromarray(photo(0)), {"exif": oriented(6)})]
    made += [(suffix, Image.fromarray(photo(0)), {}) for suffix in ("png", "webp", "bmp", "jp2")]
    made += [("tif", Image.fromarray(photo(0)), {"compression": "tiff_lzw"})]
    made += [("gif", Image.fromarray(grey), {}), ("ppm", Image.fromarray(photo(0)), {})]
    made += [("png", Image.fromarray(grey.astype(np.uint16) * 257), {"exif": oriented(8)})]
    made += [("tif", Image.fromarray(grey.astype(np.int16) - 100), {})]
    formats = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}
    files = []
    for suffix, image, options in made:
        buffer = io.BytesIO()
        image.save(buffer, formats.get(suffix, suffix.upper()), **options)
        files.append((suffix, buffer.getvalue()))
    return files


def damaged(draw: np.random.Generator, content: bytes) -> bytes:
    """Cut short, with bytes changed (most often near the head), or with a part taken out."""
    changed = bytearray(content)
    for _ in range(int(draw.integers(0, 6))):
        end = len(changed) if draw.random() < 0.4 else min(120, len(changed))
        changed[int(draw.integers(0, end))] = int(draw.integers(0, 256))
    if draw.random() < 0.3:
        del changed[int(draw.integers(0, len(changed))) :]
    if draw.random() < 0.2 and changed:
        start = int(draw.integers(0, len(changed)))
        del changed[start : start + int(draw.integers(1, 40))]
    return bytes(changed)


def test_damaged_files_are_an_image_or_a_reason(tmp_path, recwarn):
    draw, files, read = np.random.default_rng(17), whole_files(), 0
    for case in range(CASES):
        suffix, content = files[case % len(files)]
        path = tmp_path / f"{case}.{suffix}"
        path.write_bytes(damaged(draw, content))
        try:
            read_size(path)
            image = read_image(path, shrink=float(draw.choice([1, 2, 8])))
        except UnreadableImageError as error:
            reason = str(error)
            assert reason, path
            assert str(tmp_path) not in reason
        else:
            read += 1
            assert image.mode == "RGB"
    assert CASES / 10 < read < CASES
    assert not recwarn.list


@pytest.mark.parametrize("number", range(10))
def test_whole_files_are_read(tmp_path, number):
    suffix, content = whole_files()[number]
    (tmp_path / f"x.{suffix}").write_bytes(content)
    size = read_size(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}").size == size[::-1]
