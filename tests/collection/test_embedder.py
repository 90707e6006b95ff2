from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from quarterturn import CheckpointError, ConfigError, DataError, Embedder, embed
from quarterturn.data.sources import open_source
from quarterturn.runs import Run
from tests.data.pictures import truncate

CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_no_attributes_set_in_init",
    "check_set_params",
    "check_valid_tag_types",
]
"""Of scikit-learn's, those that need no data. All others pass tables of floats, which are no
images: `check_estimator` leaves them out, since the tags say that only images go in. The one that
makes an estimator without arguments is left out too, since there is no default run."""


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.png"))


@pytest.fixture(scope="module")
def expected(digits_run: Run, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """(60, 128) what ``embed`` writes of the photos, in the order of their paths."""
    out = tmp_path_factory.mktemp("embedded") / "x.npz"
    return np.load(embed(digits_run.path, photos, out=out, workers=0))["embeddings"]


@pytest.fixture
def embedder(digits_run: Run) -> Embedder:
    return Embedder(digits_run.path, device="cpu", workers=0)


def test_one_of_several_processes_embeds_by_itself(
    digits_run: Run, paths: list[Path], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # nobody else is there: to meet others would fail
    found = Embedder(digits_run.path, device="cpu", workers=0).transform(paths[:8])
    np.testing.assert_allclose(found, expected[:8], atol=1e-5)


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_checks(embedder: Embedder, name: str) -> None:
    assert getattr(estimator_checks, name)("Embedder", embedder) is None  # it raises otherwise


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_scikit_learn_finds_nothing_wrong(embedder: Embedder) -> None:
    found = estimator_checks.check_estimator(embedder)
    assert {one["status"] for one in found} == {"passed"}


@pytest.mark.parametrize(
    "given",
    [
        lambda paths: paths,
        lambda paths: [str(path) for path in paths],
        lambda paths: np.array([str(path) for path in paths]),
        lambda paths: pandas.Series([str(path) for path in paths]),
        lambda paths: pandas.DataFrame({"path": [str(path) for path in paths]}),
        lambda paths: paths[0].parents[1],
        lambda paths: [os.path.relpath(path) for path in paths],
    ],
    ids=["paths", "words", "array", "series", "frame", "folder", "relative"],
)
def test_features_are_those_of_embed(
    embedder: Embedder, paths: list[Path], expected: np.ndarray, given
) -> None:
    found = embedder.transform(given(paths))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_order_is_that_of_the_paths(
    embedder: Embedder, paths: list[Path], expected: np.ndarray
) -> None:
    np.testing.assert_allclose(embedder.transform(paths[::-3]), expected[::-3], atol=1e-5)
    np.testing.assert_allclose(embedder.transform(paths[7]), expected[7:8], atol=1e-5)


def test_pictures_and_arrays(embedder: Embedder, paths: list[Path], expected: np.ndarray) -> None:
    pictures = [Image.open(path) for path in paths]
    np.testing.assert_allclose(embedder.transform(pictures), expected, atol=1e-4)
    pixels = open_source("digits").train.pixels[:20]
    found = embedder.transform(pixels)
    assert found.shape == (20, 128)
    np.testing.assert_allclose(embedder.transform(pixels[..., 0]), found, atol=1e-5)
    np.testing.assert_allclose(embedder.transform(list(pixels)), found, atol=1e-5)


def test_a_pipeline_learns_from_few_labels(
    embedder: Embedder, paths: list[Path], tmp_path: Path
) -> None:
    steps = make_pipeline(embedder, StandardScaler(), LogisticRegression(), memory=str(tmp_path))
    settings = {"logisticregression__C": [0.1, 1], "embedder__half": ["rotation", None]}
    search = GridSearchCV(clone(steps), settings, cv=2)
    labels = [path.parent.name for path in paths]
    search.fit([*paths[:4], *paths[-4:]], [*labels[:4], *labels[-4:]])
    assert search.score(paths, labels) > 0.9  # the photos are blue or red


def test_names_and_tables(
    digits_run: Run, embedder: Embedder, paths: list[Path], expected: np.ndarray
) -> None:
    names = embedder.get_feature_names_out()
    assert (names[0], names[-1], len(names)) == ("invariant0", "invariant127", 128)
    frame = embedder.to_frame(paths)
    assert frame.index.tolist() == [str(path) for path in paths]
    assert frame.columns.tolist() == names.tolist()
    np.testing.assert_array_equal(frame.to_numpy(), expected)
    as_pandas = clone(embedder).set_output(transform="pandas").transform(paths[:3])
    assert as_pandas.columns.tolist() == names.tolist()
    whole = Embedder(digits_run.path, layer="conv2", device="cpu").to_frame()
    assert whole.columns[:4].tolist() == ["name", "split", "label", "conv20"]
    assert (whole.shape, set(whole["split"])) == ((1797, 3 + 64), {"train", "test"})


def test_it_travels_to_other_processes(embedder: Embedder, paths: list[Path]) -> None:
    found = embedder.transform(paths[:2])
    stored = pickle.dumps(embedder)
    assert len(stored) < 2000  # without the network
    np.testing.assert_array_equal(pickle.loads(stored).transform(paths[:2]), found)


def test_a_later_checkpoint_is_another_network(make_run, paths: list[Path]) -> None:
    run, other = make_run(), make_run("other", seed=3)
    embedder = Embedder(run.path, device="cpu")
    before = embedder.transform(paths[:2])
    for file in ("checkpoints/last.ckpt", "config.json"):
        (run.path / file).write_bytes((other.path / file).read_bytes())
    os.utime(run.checkpoint, (1, 1))
    assert np.abs(embedder.transform(paths[:2]) - before).max() > 0.01


def test_what_is_no_image_is_refused(
    embedder: Embedder, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(images: object, match: str) -> None:
        with pytest.raises(DataError, match=match):
            embedder.transform(images)

    refused(np.zeros((4, 8, 8)), r"an array of float64 \(4, 8, 8\) holds no pixels from 0 to 255")
    refused(np.zeros((4, 64), np.uint8), r"uint8 \(4, 64\) is no images: expected paths of image")
    refused([], "there are no images")
    refused([1, None], r"an array of object \(2,\) is no images")
    ragged = [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]
    refused(ragged, "a list of ndarray is no list of images of one size")
    refused([paths[0], tmp_path / "none.png"], r"1 of 2 paths are no files: .*none\.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(paths[0].read_bytes())
    truncate(cut)
    refused([*paths[:3], cut], r"1 of 4 images cannot be read: leave them out(?s:.*)cut\.png: ")
    with pytest.raises(CheckpointError, match="there is no such run or file"):
        Embedder(tmp_path / "none").fit()
    with pytest.raises(ConfigError, match="no layers conv9"):
        clone(embedder).set_params(layer="conv9").fit()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"Embedder\.to_frame gives a table of pandas, which is"):
        embedder.to_frame(paths)
