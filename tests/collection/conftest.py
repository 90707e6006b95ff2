"""A folder in which there is something to find, and what `explore` finds in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quarterturn.collection.explore import Explored, explore
from quarterturn.features import shared_pass
from quarterturn.runs import Run

COPIES = {
    "test/b/exact.png": ("exact", 0),
    "train/b/near.jpg": ("near", 0),
    "train/b/turned.png": ("turned", 90),
    "test/b/mirrored.png": ("mirrored", 0),
}
"""Name to kind and angle; all of ``train/a/00.png``."""
BLACK, BROKEN = "train/b/black.png", "train/b/broken.png"
ODD_NAME = 'train/a/<b>"&%, 1#.png'
NUM_READABLE = 24 + 8 + len(COPIES) + 2


def smooth(number: int, side: int = 48) -> Image.Image:
    """A picture of coloured clouds, another one for each number."""
    random = np.random.default_rng(number)
    small = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def treasure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a test split, copies of one picture, a black frame and a broken file."""
    root = tmp_path_factory.mktemp("treasure")
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        (root / folder).mkdir(parents=True)
    for number in range(24):
        smooth(number).save(root / f"train/{'ab'[number % 2]}/{number:02d}.png")
    for number in range(100, 108):
        smooth(number).save(root / f"test/a/{number}.png")
    original = root / "train/a/00.png"
    smooth(0).save(original, compress_level=0)  # more bytes than any copy of as many pixels
    (root / "test/b/exact.png").write_bytes(original.read_bytes())
    image = Image.open(original)
    image.resize((40, 40)).save(root / "train/b/near.jpg", quality=80)
    image.transpose(Image.Transpose.ROTATE_90).save(root / "train/b/turned.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "test/b/mirrored.png")
    Image.new("RGB", (48, 48)).save(root / BLACK)
    smooth(99).save(root / ODD_NAME)
    (root / BROKEN).write_bytes(original.read_bytes()[:200])
    return root


@pytest.fixture(scope="session")
def explored(digits_run: Run, treasure: Path, tmp_path_factory: pytest.TempPathFactory) -> Explored:
    """What `explore` writes of it, by a network that was trained for a moment on digits."""
    out = tmp_path_factory.mktemp("explored")
    return explore(digits_run.path, data=treasure, out=out, overwrite=True, workers=0)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with the number of images of each pass that features are extracted by."""
    sizes: list[int] = []
    original = shared_pass.evaluation_batches

    def spy(images: Any, *words: Any, **options: Any) -> Any:
        sizes.append(len(images))
        return original(images, *words, **options)

    monkeypatch.setattr(shared_pass, "evaluation_batches", spy)
    return sizes
