import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torch import nn

from quarterturn.data.sources import open_source
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features, extract_parts, random_turns
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.models.probe_heads import MaxPoolTo


@pytest.fixture
def network() -> Network:
    return build_network(Config().with_settings(backbone="convnet", image_size=8, embedding_dim=4))


@pytest.fixture
def passes(network) -> list[list[str]]:
    """For each batch, the stages that it went through."""
    seen: list[list[str]] = []
    for name, stage in network.backbone.stages.items():
        stage.register_forward_hook(
            lambda *_, name=name: seen.append([name]) if name == "conv1" else seen[-1].append(name)
        )
    return seen


@pytest.fixture
def store(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


@pytest.fixture
def files(random_images, tmp_path):
    """Twelve pictures without compression, of four classes."""
    for i, pixels in enumerate(random_images(12).pixels):
        (tmp_path / "photos" / "abcd"[i // 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / "abcd"[i // 3] / f"{i:02d}.bmp")
    return lambda: open_source(str(tmp_path / "photos")).train


def assert_same(found: dict[str, Features], expected: dict[str, Features]) -> None:
    assert list(found) == list(expected)
    for name, one in found.items():
        np.testing.assert_array_equal(one.values, expected[name].values)
        np.testing.assert_array_equal(one.indices, expected[name].indices)
        np.testing.assert_array_equal(one.labels, expected[name].labels)


@pytest.mark.parametrize("turned", [False, True])
def test_the_store_changes_no_value(random_images, crop, network, store, turned):
    images, turns = random_images(11), random_turns(11, seed=0) if turned else None
    model = NetworkFeatures(network, ("fc", "conv1"), 2)
    plain = extract_parts(images, crop, model, turns=turns, batch_size=4)
    assert list(plain) == ["conv1", "rotation", "invariant", "both"]
    for _ in range(2):  # written, then read
        kept = cached_features(images, crop, model, store, turns=turns, batch_size=4)
        assert_same(kept, plain)
        assert all(isinstance(part.values, np.memmap) for part in kept.values())


def test_only_the_missing_layers_are_computed(random_images, crop, network, store, passes):
    images = random_images(11)
    cached_features(images, crop, NetworkFeatures(network, ("conv1",)), store)
    assert passes == [["conv1"]]  # and nothing beyond
    both = cached_features(images, crop, NetworkFeatures(network, ("conv1", "fc")), store)
    assert len(passes) == 2
    again = cached_features(images, crop, NetworkFeatures(network, ("fc", "conv1")), store)
    assert len(passes) == 2
    assert_same(again, both)
    # The last layer is no map: the grid is nothing to it.
    cached_features(images, crop, NetworkFeatures(network, ("fc",), 2), store)
    assert len(passes) == 2
    cached_features(images, crop, NetworkFeatures(network, ("conv1",), 2), store)
    assert len(passes) == 3


def test_maps_are_kept_as_they_are_or_pooled(random_images, crop, network, store, passes):
    images = random_images(11)
    for pool, side in [(nn.Identity(), 4), (MaxPoolTo(32 * 9), 3), (MaxPoolTo(32 * 4), 2)]:
        model = NetworkFeatures(network, ("conv1", "fc"), pool=pool)
        kept = cached_features(images, crop, model, store)
        assert kept["conv1"].values.shape == (11, 32, side, side)
        assert_same(kept, extract_parts(images, crop, model))
        before = len(passes)
        assert_same(cached_features(images, crop, model, store), kept)
        assert len(passes) == before


def test_labels_are_those_of_the_images_at_hand(random_images, crop, network, store):
    """They are not kept: the same pictures may have other labels elsewhere, or none."""
    images, other = random_images(9), random_images(9)
    model = NetworkFeatures(network)
    cached_features(images, crop, model, store)
    other.labels = other.labels[::-1].copy()
    assert (
        cached_features(other, crop, model, store)["both"].labels.tolist() == other.labels.tolist()
    )
    other.labels = None
    assert cached_features(other, crop, model, store)["both"].labels is None


def test_a_picture_that_was_turned_in_place_is_another(crop, network, store, files):
    model, before = NetworkFeatures(network), files()
    cached_features(before, crop, model, store)
    path = before.path(4)
    size = path.stat().st_size
    Image.open(path).rotate(90).save(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # however quick the test
    assert path.stat().st_size == size
    after = files()
    assert after.fingerprint() == before.fingerprint()
    assert_same(cached_features(after, crop, model, store), extract_parts(after, crop, model))


def test_what_could_not_be_read_once_is_tried_again(crop, network, store, files):
    crop, model = replace(crop, max_bad_fraction=0.2), NetworkFeatures(network)
    images = files()
    path = images.path(6)
    path.rename(path.with_suffix(".gone"))
    found = cached_features(images, crop, model, store)
    assert found["both"].indices.tolist() == [i for i in range(12) if i != 6]
    path.with_suffix(".gone").rename(path)
    found = cached_features(images, crop, model, store)
    assert found["both"].indices.tolist() == list(range(12))
    assert len(list(store.folder.iterdir())) == 1


def test_what_can_never_be_read_costs_no_pass_again(crop, network, store, files, passes):
    crop, model = replace(crop, max_bad_fraction=0.2), NetworkFeatures(network)
    images = files()
    images.path(6).write_bytes(images.path(6).read_bytes()[:-40])
    for _ in range(3):
        found = cached_features(images, crop, model, store)
        assert found["both"].indices.tolist() == [i for i in range(12) if i != 6]
    assert len(passes) == 1


def test_a_picture_that_was_turned_behind_its_time_is_another(crop, network, store, files):
    """As by programs that put the time of writing back."""
    model, before = NetworkFeatures(network), files()
    key = model.cache_key("fc", before, crop, None)
    path = before.path(4)
    stat = path.stat()
    Image.open(path).rotate(90).save(path)
    os.utime(path, ns=(0, stat.st_mtime_ns))
    after = files()
    np.testing.assert_array_equal(after.modified_ns, before.modified_ns)
    assert model.cache_key("fc", after, crop, None) != key
