from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import DataError
from quarterturn.methods.base import Network
from quarterturn.models.backbone import Backbone
from quarterturn.pretraining.imbalance import ImbalancePicture, gini, imbalance_picture

CROP = DataConfig(image_size=8, eval_crop=1.0, mean=(0, 0, 0), std=(1, 1, 1))
SIZES = [40, 12, 4]


@pytest.fixture
def images(rng) -> ArrayImages:
    """Red, green and blue images, each with a little noise; the last two are the same picture."""
    pixels = rng.integers(0, 30, (sum(SIZES), 8, 8, 3))
    for channel, (start, number) in enumerate(zip([0, 40, 52], SIZES, strict=True)):
        pixels[start : start + number, ..., channel] += 200
    pixels[-1] = pixels[-2]
    return ArrayImages(pixels.astype(np.uint8), [f"image-{i}" for i in range(len(pixels))])


@pytest.fixture
def network() -> Network:
    """Pixels themselves as the feature."""
    return Network(Backbone([("pixels", nn.Flatten())], ["pixels"], feature_dim=3 * 8 * 8))


@pytest.fixture
def found(images, network):
    network.register_parameter("any", nn.Parameter(torch.zeros(1)))
    return imbalance_picture(network, images, CROP, num_clusters=3)


def test_gini_by_hand():
    assert gini(np.array([5, 5, 5])) == 0
    assert gini(np.array([1, 0, 0, 0])) == pytest.approx(0.75)
    # |10-2| twice of four ordered pairs: 4 on average, over twice the mean of 6.
    assert gini(np.array([10, 2])) == pytest.approx(4 / 12)


def test_clusters_are_the_kinds_largest_first(found):
    assert found.sizes.tolist() == SIZES
    assert found.cluster.tolist() == [0] * 40 + [1] * 12 + [2] * 4
    assert found.head_to_tail == 10
    assert found.gini == pytest.approx(gini(np.array(SIZES)))


def test_copies_are_the_most_alike(found):
    assert found.pairs()[0] == (54, 55)
    assert found.cosine[54] == pytest.approx(1, abs=1e-6)
    pairs = found.pairs()
    assert all(found.nearest[a] == b for a, b in pairs)
    assert {i for pair in pairs for i in pair} == set(range(56))
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    cosines = [found.cosine[a] for a, _ in pairs]
    assert cosines == sorted(cosines, reverse=True)


@pytest.mark.parametrize("nearest", [[1, 0, 0, 1], [1, 2, 0, 2], [2, 2, 1, 0]])
def test_of_three_equal_images_none_is_missing(nearest):
    zeros = np.zeros(4)
    cosine = np.array([1, 1, 1, 0.5])
    found = ImbalancePicture(
        list("abcd"), np.arange(4), zeros, np.array([4]), zeros, np.array(nearest), cosine, of=4
    )
    alike = [pair for pair in found.pairs() if 3 not in pair]
    assert {i for pair in alike for i in pair} == {0, 1, 2}
    assert found.pairs()[: len(alike)] == alike


def test_the_images_of_the_small_kind_are_the_rarest(found):
    # Of a kind of four, six of the ten nearest are of another kind.
    assert set(found.rarest()[:4].tolist()) == {52, 53, 54, 55}


def test_neighbours_are_a_loop(found, images):
    rows = images.pixels.transpose(0, 3, 1, 2).reshape(len(images), -1).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for i in (0, 45, 55):
        cosines = np.delete(rows @ rows[i], i)
        assert found.rarity[i] == pytest.approx(1 - np.sort(cosines)[-10:].mean(), abs=1e-5)


def test_the_file_says_the_same(found, tmp_path):
    found.write(tmp_path / "imbalance.csv")
    with open(tmp_path / "imbalance.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 56
    assert rows[54]["name"] == "image-54"
    assert (rows[54]["cluster"], rows[54]["cluster_size"]) == ("2", "4")
    assert rows[54]["most_alike"] == "image-55"
    assert float(rows[54]["rarity"]) == pytest.approx(float(found.rarity[54]), abs=1e-6)


def test_refuses_a_single_image(images, network):
    network.register_parameter("any", nn.Parameter(torch.zeros(1)))
    with pytest.raises(DataError, match="of a single image there is no spread"):
        imbalance_picture(network, images.subset(np.array([3])), CROP, num_clusters=3)


def test_samples_a_large_collection(images, network):
    network.register_parameter("any", nn.Parameter(torch.zeros(1)))
    found = imbalance_picture(network, images, CROP, num_clusters=2, most=20)
    assert (len(found.names), found.of) == (20, 56)
    assert found.names == [f"image-{i}" for i in found.indices]
    assert sorted(found.indices.tolist()) == found.indices.tolist()
