from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn import pretrain
from quarterturn.runs import Run

QUICK = {"epochs": 2, "limit": 120, "num_noise": 16, "batch_size": 32, "device": "cpu"}


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short decoupling run on digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    return pretrain("digits", out=out, quiet=True, **QUICK)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of small photos that differ in hue, 30 of each; bright at the top."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for label, hue in [("blue", 2), ("red", 0)]:
        (root / label).mkdir()
        for i in range(30):
            pixels = random.integers(0, 60, (40, 48, 3), dtype=np.uint8)
            pixels[..., hue] += 120
            pixels[:12] += 60
            Image.fromarray(pixels).save(root / label / f"{i:02d}.png")
    return root
