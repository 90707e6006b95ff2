from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.sources import open_source
from quarterturn.exploring.explore import Explored, explore
from quarterturn.orientation.orient import orient
from quarterturn.orientation.upright_table import FILE, UprightTable
from quarterturn.presets import preset
from quarterturn.runs import Run
from tests.fixtures.photos import smooth
from tests.fixtures.runs import MakeRun

NUM_IMAGES, TURNED = 10, 4


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(NUM_IMAGES):
        smooth(number).save(folder / f"{number}.png")
    return folder


def write_upright(path: Path, data: Path) -> None:
    """An upright run that takes one image to be stored turned by 90 degrees, and the others not."""
    source = open_source(str(data))
    fingerprint = source.train.fingerprint()
    config = preset("digits").with_settings(method="rotnet")
    Run(path, str(data), config, fingerprint, "upright").create()
    probabilities = np.full((NUM_IMAGES, 4, 4), 0.01, np.float32)
    for image in range(NUM_IMAGES):
        for k in range(4):
            probabilities[image, k, (k + (image == TURNED)) % 4] = 0.97
    UprightTable(
        source.train.names,
        probabilities,
        np.full(NUM_IMAGES, 0.1, np.float32),
        np.arange(NUM_IMAGES) % 2,
        fingerprint,
    ).write(path / FILE)


def test_an_upright_run_is_asked_where_there_is_one(
    make_run: MakeRun, images: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    write_upright(run.path / "upright", images)
    found = explore(run.path, data=images, workers=0)
    figures = json.loads(found.figures.read_text())
    assert [each["name"] for each in figures["turned"]] == [f"{TURNED}.png"]
    assert figures["turned"][0]["turn_degrees"] == 270
    assert f"quarterturn orient {run.path} {images}" in "".join(
        terminal.readouterr().err.split("\n")
    )
    assert figures["turned"][0]["probability"] > 0.99  # four copies say so
    assert 0.05 < figures["turned_share"] < 0.2
    assert figures["turned_caveat"] == (
        "Each image was scored by networks that have not learned from it. About "
        f"{100 * figures['turned_share']:.1f} % are stored turned, by estimate."
    )


def test_images_that_were_learned_from_are_counted(make_run: MakeRun, images: Path) -> None:
    run = make_run("other")
    found = explore(run.path, data=images, workers=0)
    caveat = json.loads(found.figures.read_text())["turned_caveat"]
    assert caveat.startswith("Each image was scored by networks that have not learned from it.")
    assert "cannot tell yet which way is up" in caveat  # an epoch on digits
    own = Run(run.path, str(images), run.config, "x")
    own._write_settings()
    caveat = json.loads(explore(run.path, workers=0).figures.read_text())["turned_caveat"]
    assert caveat.startswith("The network has learned from 10 of the 10 images")


def explored(found: Explored) -> dict[str, tuple[str, str]]:
    """Verdict and probability of being upright, by name."""
    with open(found.table, newline="", encoding="utf-8") as file:
        return {row["name"]: (row["verdict"], row["upright"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("has_upright", [False, True])
def test_explore_and_orient_say_the_same(
    make_run: MakeRun, images: Path, tmp_path: Path, has_upright: bool
) -> None:
    run = make_run()
    Run(run.path, str(images), run.config, "x")._write_settings()
    if has_upright:
        write_upright(run.path / "upright", images)
    told = explored(explore(run.path, data=images, workers=0))
    result = orient(run.path, images, out=tmp_path / "turns", workers=0)
    with open(result["table"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"]: row["verdict"] for row in rows} == {n: told[n][0] for n in told}
    for row in rows:
        if row["turn_degrees"] == "0":
            assert float(told[row["path"]][1]) == pytest.approx(float(row["probability"]), abs=2e-4)
