from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn.methods.configuration import Config
from quarterturn.pretraining.collection_pictures import cluster_sizes, collection_pictures
from quarterturn.pretraining.imbalance import ImbalancePicture
from quarterturn.runs import Run
from quarterturn.runs.pictures import FOLDER


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run", "photos", Config().with_settings(image_size=8), "f")
    run.create()
    return run


@pytest.fixture
def found(random_images) -> ImbalancePicture:
    images = random_images(6, 8)
    return ImbalancePicture(
        names=[images.names[i] for i in (0, 2, 3, 5)],
        indices=np.array([0, 2, 3, 5]),
        cluster=np.array([0, 0, 0, 1]),
        sizes=np.array([3, 1]),
        rarity=np.array([0.2, 0.1, 0.3, 0.9], dtype=np.float32),
        nearest=np.array([1, 0, 1, 2]),
        cosine=np.array([0.95, 0.95, 0.8, 0.4], dtype=np.float32),
        of=6,
    )


def test_show_kinds_rare_images_and_pairs(found, random_images, run) -> None:
    shown = collection_pictures(found, random_images(6, 8), run)
    assert (shown.num_images, shown.of) == (4, 6)
    assert [(kind.size, [one.name for one in kind.typical]) for kind in shown.kinds] == [
        (3, ["noise-2", "noise-0", "noise-3"]),
        (1, ["noise-5"]),
    ]
    assert [one.picture.name for one in shown.rarest][:2] == ["noise-5", "noise-3"]
    assert shown.rarest[0].rarity == pytest.approx(0.9)
    assert [(pair.first.name, pair.second.name) for pair in shown.pairs] == [
        ("noise-0", "noise-2"),
        ("noise-3", "noise-2"),
        ("noise-5", "noise-3"),
    ]


def test_every_picture_is_stored_once(found, random_images, run) -> None:
    collection_pictures(found, random_images(6, 8), run)
    files = sorted((run.path / FOLDER).iterdir())
    assert len(files) == 4
    with Image.open(files[0]) as image:
        assert image.size == (128, 128)


def test_the_chart_tells_how_even_the_collection_is(found) -> None:
    figure = cluster_sizes(found)
    assert figure.data == {"sizes": [3, 1], "gini": 0.25, "head_to_tail": 3.0}
    assert figure.caption.startswith("Gini 0.25, largest over smallest 3.0")
