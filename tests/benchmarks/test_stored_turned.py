import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.sources import open_source
from quarterturn.orientation.upright_table import FILE, UprightTable

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import stored_turned


@pytest.fixture
def photos(tmp_path):
    """Forty dark images with a bright upper edge."""
    (tmp_path / "photos").mkdir()
    for i in range(40):
        pixels = np.full((24, 24, 3), 20 + i, dtype=np.uint8)
        pixels[:6] = 250
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i:02d}.png")
    return tmp_path / "photos"


def brightest_edge(image: Image.Image) -> int:
    """Quarter turns, counter-clockwise, that bring the upper edge where the bright one is."""
    grey = np.asarray(image.convert("L")).astype(float)
    edges = [grey[:6].mean(), grey[:, :6].mean(), grey[-6:].mean(), grey[:, -6:].mean()]
    return int(np.argmax(edges))


def test_the_list_says_how_each_image_is_stored(photos, tmp_path):
    stored_turned.make(photos, tmp_path / "out", share=0.25, seed=3)
    truth = json.loads((tmp_path / "out" / "turns.json").read_text())
    images = open_source(str(tmp_path / "out" / "images")).train
    assert sum(turn > 0 for turn in truth.values()) == 10
    assert {truth[n] for n in images.names} == {0, 1, 2, 3}
    assert [brightest_edge(images.read(i)) for i in range(40)] == [truth[n] for n in images.names]


def test_an_oracle_finds_all_of_them(photos, tmp_path, capsys):
    out = tmp_path / "out"
    stored_turned.make(photos, out, share=0.25, seed=3)
    images = open_source(str(out / "images")).train
    probabilities = np.full((40, 4, 4), 0.04, dtype=np.float32)
    for i in range(40):
        stored = brightest_edge(images.read(i))
        for k in range(4):  # copy k of an image stored turned by s is turned by k + s
            probabilities[i, k, (k + stored) % 4] = 0.88
    zeros = np.zeros(40)
    (tmp_path / "run").mkdir()
    UprightTable(images.names, probabilities, zeros, zeros.astype(int), "x").write(
        tmp_path / "run" / FILE
    )
    stored_turned.measure(out, tmp_path / "run")
    rows = dict(json.loads(capsys.readouterr().out.splitlines()[-1])["rows"])
    assert set(rows.values()) == {1.0}
    assert len(rows) == 9
