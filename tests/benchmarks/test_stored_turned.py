import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.sources import open_source

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
    with (tmp_path / "orient.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "turn_degrees", "probability", "verdict"])
        for i, name in enumerate(images.names):
            degrees = 90 * (-brightest_edge(images.read(i)) % 4)
            verdict = f"turn {degrees}" if degrees else "upright"
            table.writerow([name, degrees, 0.85, verdict])
    stored_turned.measure(out, tmp_path / "orient.csv")
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row[1:] for row in rows[:2]] == [[10, 10, 1.0, 1.0]] * 2
    assert rows[2] == ["from 90%", 0, 0, 0.0, 0.0]
    assert rows[-1] == ["turned by orient", 10, 10, 1.0, 1.0]


def test_a_mixed_folder_says_what_is_turned(tmp_path):
    for i in range(130):
        pixels = np.full((16, 20, 3), 20 + i, dtype=np.uint8)
        pixels[:4] = 250
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.jpg")
    (tmp_path / "textures").mkdir()
    stored_turned.mix(tmp_path / "photos", tmp_path / "textures", tmp_path / "out", seed=21)
    truth = json.loads((tmp_path / "out" / "turns.json").read_text())
    assert len(truth) == 120
    for name, turn in list(truth.items())[:20]:
        image = Image.open(tmp_path / "out" / "images" / name)
        assert brightest_edge(image.resize((24, 24))) == turn
    assert len(list((tmp_path / "out" / "images").rglob("broken_*"))) == 6
