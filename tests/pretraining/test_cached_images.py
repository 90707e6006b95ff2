"""``pretrain --cache``: a run whose pixels come from a cache of its DATA."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import quarterturn
from quarterturn.config import DataConfig
from quarterturn.data.pixel_cache import CacheOrigin, open_cache
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.methods.configuration import Config
from quarterturn.pretraining import cached_images
from quarterturn.pretraining.cached_images import data_in_cache, side_needed
from quarterturn.runs import Run

CONFIG = Config().with_settings(image_size=14, workers=0, device="cpu")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """The user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "quarterturn"


@pytest.fixture
def own_photos(photos: Path, tmp_path) -> Path:
    return Path(shutil.copytree(photos, tmp_path / "own"))


def cached(photos: Path, cache: str = "auto", config: Config = CONFIG) -> Path:
    return Path(data_in_cache(str(photos), cache, config, Runtime("cpu")))


def test_a_run_says_where_its_pixels_are_from(photos, place, tmp_path, caplog) -> None:
    caplog.set_level("INFO", "quarterturn")
    run = quarterturn.pretrain(
        photos,
        cache="auto",
        out=tmp_path / "run",
        method="rotnet",
        backbone="convnet",
        image_size=14,
        batch_size=30,
        epochs=1,
        workers=0,
        device="cpu",
        diagnostics=False,
    )
    (cache,) = place.iterdir()
    assert run.data == str(cache)
    assert run.cache == CacheOrigin(str(photos), 16)
    assert f"images to decode into {cache}: about" in caplog.text
    opened = Run.open(run.path)
    assert (opened.data, opened.cache) == (run.data, run.cache)
    assert "from a cache: decoded from" in (run.path / "facts.json").read_text()
    # Whatever opens the run's images opens the cache.
    quarterturn.embed(run.path, out=tmp_path / "x.npz", device="cpu", workers=0)
    names = np.load(tmp_path / "x.npz")["names"].tolist()
    assert sorted(names) == sorted(open_cache(cache).splits["train"].names)
    # Its images are those of the files, however they are reached.
    assert quarterturn.resume(run.path).data == run.data
    shutil.rmtree(cache)
    with pytest.raises(DataError, match=f"It was a cache; make it again with: .*{photos} --out"):
        quarterturn.resume(run.path)


def test_a_second_run_takes_what_is_there(own_photos, place, monkeypatch) -> None:
    first = cached(own_photos)
    with monkeypatch.context() as patch:
        patch.setattr(cached_images, "write_cache", None)
        assert cached(own_photos) == first
        assert cached(own_photos, str(first)) == first
    (own_photos / "red" / "00.png").unlink()
    assert cached(own_photos) != first  # another state of the collection
    assert len(list(place.iterdir())) == 2


def test_a_cache_of_other_images_is_refused(own_photos, tmp_path) -> None:
    made = cached(own_photos, str(tmp_path / "c"))
    (own_photos / "red" / "00.png").unlink()
    with pytest.raises(DataError, match=r"of other images than .* \(split 'train': .*--overwrite"):
        cached(own_photos, str(made))
    with pytest.raises(DataError, match=r"decoded with --white not given, expected 4095"):
        cached(own_photos, str(cached(own_photos)), CONFIG.with_settings(white=4095))


def test_a_cache_of_small_images_is_refused(photos, tmp_path) -> None:
    made = cached(photos, str(tmp_path / "c"))
    larger = CONFIG.with_settings(image_size=21)
    with pytest.raises(ConfigError, match=r"of 16 px, and the crops need 24 px: .* --side 24"):
        cached(photos, str(made), larger)
    smaller = CONFIG.with_settings(image_size=8)
    assert cached(photos, str(made), smaller) == made


def test_crops_of_a_number_of_pixels_take_no_cache(photos, place) -> None:
    with pytest.raises(ConfigError, match=r"^--fixed-crop 12 counts the pixels of the images as"):
        cached(photos, config=CONFIG.with_settings(fixed_crop=12))
    assert not place.exists()


def test_several_processes_do_not_make_it(photos, place) -> None:
    runtime = Runtime("cpu")
    runtime.world_size = 2
    with pytest.raises(ConfigError, match=r"make it first, with: quarterturn cache .* --side 16"):
        data_in_cache(str(photos), "auto", CONFIG, runtime)
    assert not place.exists()


@pytest.mark.parametrize("is_array", [True, False])
def test_images_in_memory_and_caches_are_taken_as_they_are(
    photos, tmp_path, caplog, is_array
) -> None:
    data = "digits" if is_array else str(cached(photos, str(tmp_path / "c")))
    assert data_in_cache(data, "auto", CONFIG, Runtime("cpu")) == data
    assert "--cache auto has no effect" in caplog.text


@pytest.mark.parametrize(
    ("crop", "side"),
    [
        (DataConfig(image_size=128), 147),
        (DataConfig(image_size=224), 256),
        (DataConfig(image_size=224, eval_crop=1.0), 224),
        (DataConfig(image_size=224, crop_fraction=0.5), 448),
        (DataConfig(image_size=100, crop_pixels=(0.5, 2.5)), 250),
    ],
)
def test_side_is_what_the_crops_need(crop: DataConfig, side: int) -> None:
    assert side_needed(crop) == side
