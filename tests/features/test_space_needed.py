from types import SimpleNamespace

import numpy as np
import pytest

from quarterturn.data.labelled import LabelledData
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.features.space_needed import bytes_to_cache, require_disk_space, require_memory
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.probing.fitted import probe_over_seeds

CONFIG = Config().with_settings(backbone="convnet", image_size=8, embedding_dim=16)


@pytest.fixture
def model() -> NetworkFeatures:
    return NetworkFeatures(build_network(CONFIG), ("conv1", "fc"), grid=2)


@pytest.fixture
def store(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def bytes_kept(store: FeatureCache) -> int:
    files = [f for f in store.folder.rglob("*.npy") if f.name != "indices.npy"]
    return sum(np.load(file, mmap_mode="r").nbytes for file in files)


@pytest.mark.parametrize("own_test", [True, False])
def test_the_estimated_space_is_the_space_used(random_images, crop, model, store, own_test):
    source = open_source("digits")
    split = LabelledData(random_images(30), random_images(9) if own_test else None, "", source)
    for seeds in ([0, 1], [1, 2]):  # of the second, one has been there
        told, before = bytes_to_cache([model], split, crop, seeds, store), 0
        if store.folder.exists():
            before = bytes_kept(store)
        probe_over_seeds(model, split, crop, seeds, kinds=("knn",), ks=(3,), store=store)
        assert told == bytes_kept(store) - before > 0
        assert bytes_to_cache([model], split, crop, seeds, store) == 0


def test_widths_are_those_of_the_features(crop, model):
    assert model.widths(8) == {
        "conv1": 4 * 32,
        "rotation": 128,
        "invariant": 128,
        "both": 256,
    }


class TestDisk:
    def test_says_the_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5e9))
        folder = tmp_path / "features"
        assert require_disk_space(3_700_000_000, folder) == (
            f"features to cache in {folder}: 3.7 GB; 5.0 GB are free"
        )
        assert require_disk_space(0, folder) is None

    def test_refuses_what_it_has_no_room_for(self, tmp_path, monkeypatch):
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3e9))
        with pytest.raises(ConfigError, match=r"3\.7 GB; 3\.0 GB are free: probe fewer --layers"):
            require_disk_space(3_700_000_000, tmp_path / "features")


@pytest.mark.parametrize(("free", "enough"), [(3_583_999, False), (3_584_000, True), (None, True)])
def test_memory_that_a_classifier_needs(crop, model, monkeypatch, free, enough):
    """1,000 images of 256 features of 4 bytes, 3.5 times, or as often as is said."""
    monkeypatch.setattr("quarterturn.features.space_needed.free_main_memory", lambda: free)
    if enough:
        require_memory(1000, model, crop)
        require_memory(500, model, crop, copies=7)
        if free is not None:
            with pytest.raises(ConfigError, match=r"501 images and 256 features of both"):
                require_memory(501, model, crop, copies=7)
    else:
        with pytest.raises(ConfigError, match=r"1,000 images and 256 features of both needs 4 MB"):
            require_memory(1000, model, crop)
