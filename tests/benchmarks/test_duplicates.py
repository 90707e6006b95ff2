import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import duplicates
import stored_turned


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder of the benchmark, of pictures that are small."""
    root = tmp_path_factory.mktemp("mixed")
    random = np.random.default_rng(0)
    for folder, number in (("photos/a", 300), ("textures", 15)):
        (root / folder).mkdir(parents=True)
        for i in range(number):
            pixels = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((24, 16)).save(root / folder / f"{i:03d}.jpg")
    stored_turned.mix(root / "photos", root / "textures", root / "out", seed=1)
    return root / "out"


def test_every_copy_has_its_photo(mixed):
    copies = json.loads((mixed / "copies.json").read_text())
    kinds = [kind for _, kind in copies.values()]
    assert [kinds.count(kind) for kind in ("exact", "near", "turned")] == [20, 20, 60]
    for name, (photo, kind) in copies.items():
        contents = [(mixed / "images" / each).read_bytes() for each in (name, photo)]
        assert (contents[0] == contents[1]) == (kind == "exact")


def test_found_and_wrong_copies_are_counted(mixed, tmp_path, capsys):
    copies = json.loads((mixed / "copies.json").read_text())
    with (tmp_path / "d.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["group", "path"])
        for number, (name, (photo, kind)) in enumerate(copies.items()):
            if kind == "exact":
                table.writerows([[number, photo], [number, name]])
        near = [name for name, (_, kind) in copies.items() if kind == "near"]
        table.writerows([["x", near[0]], ["x", "a/000.jpg"], ["", "a/broken_0.jpg"]])
    duplicates.measure(mixed, tmp_path / "d.csv")
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert rows[0] == ["exact", 20, 20, 1.0, 1.0]
    is_right = copies[near[0]][0] == "a/000.jpg"
    assert rows[1] == ["near", 20, is_right, is_right / 20, float(is_right)]
    assert rows[2] == ["turned", 60, 0, 0.0, None]
