import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.extraction import (
    Features,
    concatenate,
    extract,
    extract_parts,
    random_turns,
)


@pytest.fixture
def network() -> nn.Module:
    """8 px images to 5 features that depend on the turn; different in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(4 * 6 * 6, 5),
        )
    nn.init.uniform_(network[1].running_mean, -0.3, 0.3)
    return network


class TestExtract:
    def test_values_in_order(self, random_images, crop, network):
        images = random_images(11)
        found = extract(images, crop, network.eval(), batch_size=4)
        views = torch.from_numpy(images.pixels).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            expected = network(views).numpy()
        np.testing.assert_allclose(found.values, expected, atol=1e-5)
        assert found.values.dtype == np.float32
        assert found.indices.tolist() == list(range(11))
        assert found.labels.tolist() == images.labels.tolist()

    def test_batches_do_not_matter(self, random_images, crop, network):
        images = random_images(11)
        whole = extract(images, crop, network)
        for batch_size in (1, 3):
            parts = extract(images, crop, network, batch_size=batch_size)
            np.testing.assert_allclose(parts.values, whole.values, atol=1e-5)

    def test_turned_features_are_those_of_turned_images(self, random_images, crop, network):
        images = random_images(12)
        turns = torch.tensor([0, 1, 2, 3] * 3)
        found = extract(images, crop, network, turns=turns, batch_size=5).values
        turned = np.stack([np.rot90(p, k) for p, k in zip(images.pixels, turns, strict=True)])
        expected = extract(ArrayImages(turned, images.names), crop, network).values
        np.testing.assert_allclose(found, expected, atol=1e-5)
        upright = extract(images, crop, network).values
        moved = np.abs(found - upright).max(axis=1)
        assert (moved[turns == 0] < 1e-5).all()
        assert (moved[turns > 0] > 1e-2).all()

    def test_turns_are_by_number_where_files_fail(self, random_images, crop, network, tmp_path):
        images = random_images(12)
        for i, pixels in enumerate(images.pixels):
            Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
        files = open_source(str(tmp_path)).train
        for i in (0, 6):
            files.path(i).unlink()
        turns = torch.arange(12) % 4
        with pytest.raises(DataError, match=r"2 of 12 image files cannot be read \(16.7%"):
            extract(files, crop, network, turns=turns)
        failed: dict[int, str] = {}
        found = extract(files, crop, network, turns=turns, batch_size=5, failed=failed)
        assert sorted(failed) == [0, 6]
        kept = [i for i in range(12) if i not in (0, 6)]
        assert found.indices.tolist() == kept
        assert found.labels is None
        expected = extract(images, crop, network, turns=turns).values[kept]
        np.testing.assert_allclose(found.values, expected, atol=1e-5)
        for i in kept:
            files.path(i).unlink()
        with pytest.raises(DataError, match=r"none of the images can be decoded:\n  00.png: No"):
            extract(files, crop, network, failed={})

    @pytest.mark.parametrize("training", [True, False])
    def test_mode_is_eval_meanwhile_then_as_before(self, random_images, crop, network, training):
        network.train(training)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        seen = []
        network.register_forward_hook(lambda module, *_: seen.append(module.training))
        extract(random_images(11), crop, network, batch_size=6)
        assert seen == [False, False]
        assert network.training == network[1].training == training
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_mode_is_restored_after_an_error(self, random_images, crop, network):
        network.train()
        with pytest.raises(RuntimeError, match="shape"):
            extract(random_images(9), crop, nn.Sequential(network, nn.Linear(7, 1)).train())
        assert network.training

    def test_no_gradients(self, random_images, crop, network):
        inner = []
        network.register_forward_hook(lambda *args: inner.append(args[-1].requires_grad))
        extract(random_images(9), crop, network)
        assert inner == [False]
        assert torch.is_grad_enabled()

    def test_functions_and_maps(self, random_images, crop):
        images = random_images(9)
        found = extract(images, crop, lambda views: views[:, :, ::2, ::2].bfloat16())
        assert found.values.shape == (9, 3, 4, 4)
        assert found.values.dtype == np.float32


class Halves(nn.Module):
    """Two named parts of a network's features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: torch.Tensor) -> dict[str, torch.Tensor]:
        values = self.network(views)
        return {"first": values[:, :2], "rest": values[:, 2:].bfloat16()}


class TestExtractParts:
    @pytest.fixture
    def model(self, network) -> Halves:
        return Halves(network)

    @pytest.fixture
    def store(self, tmp_path) -> FeatureCache:
        return FeatureCache(tmp_path / "features")

    @pytest.fixture
    def files(self, random_images, tmp_path):
        """Twelve files of four classes by turns, of which numbers 0 and 6 are gone."""
        for i, pixels in enumerate(random_images(12).pixels):
            (tmp_path / "photos" / "abcd"[i // 3]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / "abcd"[i // 3] / f"{i:02d}.png")
        files = open_source(str(tmp_path / "photos")).train
        for i in (0, 6):
            files.path(i).unlink()
        return files

    def test_parts_are_those_of_extract(self, random_images, crop, model, network):
        images = random_images(11)
        found = extract_parts(images, crop, model, batch_size=4)
        whole = extract(images, crop, network, batch_size=4)
        assert list(found) == ["first", "rest"]
        np.testing.assert_array_equal(found["first"].values, whole.values[:, :2])
        np.testing.assert_allclose(found["rest"].values, whole.values[:, 2:], rtol=2**-8)
        for part in found.values():
            assert part.values.dtype == np.float32
            assert part.indices.tolist() == list(range(11))
            assert part.labels.tolist() == images.labels.tolist()

    def test_files_that_fail_leave_numbers_and_labels_in_place(
        self, random_images, crop, model, network, store, files
    ):
        crop = replace(crop, max_bad_fraction=0.2)
        kept = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
        expected = extract(random_images(12), crop, network).values[kept]
        for writer in (None, store.writer("k", 12)):
            found = extract_parts(files, crop, model, batch_size=5, writer=writer)
            for part in found.values():
                assert part.indices.tolist() == kept
                assert part.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
            np.testing.assert_allclose(found["first"].values, expected[:, :2], atol=1e-5)
        assert store.read("k")[0].tolist() == kept

    def test_too_many_that_fail_leave_no_entry(self, crop, model, store, files):
        with pytest.raises(DataError, match="2 of 12 image files cannot be read"):
            extract_parts(files, crop, model, writer=store.writer("k", 12))
        assert list(store.folder.iterdir()) == []


class TestFeatures:
    FEATURES = Features(
        np.arange(10, dtype=np.float32).reshape(5, 2), np.array([1, 2, 4, 7, 8]), np.arange(5)
    )

    FOURTH = Features(np.array([[4, 5]], np.float32), np.array([4]), np.array([2]))

    def test_of_some_images(self):
        found = self.FEATURES.of(np.array([0, 2, 3, 7]))  # 0 and 3 could not be read
        assert found.indices.tolist() == [2, 7]
        assert found.labels.tolist() == [1, 3]
        assert found.values[:].tolist() == [[2, 3], [6, 7]]
        assert found.values[1:].tolist() == [[6, 7]]
        assert (len(found.values), found.values.shape) == (2, (2, 2))
        assert self.FEATURES.of(np.arange(9)).values is self.FEATURES.values  # no copy

    def test_concatenated(self):
        found = concatenate([self.FEATURES, self.FOURTH])
        assert found.indices.tolist() == [1, 2, 4, 7, 8, 4]
        assert found.labels.tolist() == [0, 1, 2, 3, 4, 2]
        assert found.values[-1].tolist() == [4, 5]
        without = replace(self.FEATURES, labels=None)
        assert concatenate([without, without]).labels is None


class TestRandomTurns:
    def test_are_uniform(self):
        n = 20_000
        counts = torch.bincount(random_turns(n, seed=0), minlength=4)
        assert len(counts) == 4
        assert (counts / n - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / n)

    def test_are_fixed_by_seed_and_number(self):
        turns = random_turns(1000, seed=3)
        assert turns.dtype == torch.int64
        assert torch.equal(random_turns(1000, seed=3), turns)
        assert torch.equal(random_turns(10, seed=3), turns[:10])
        assert (random_turns(1000, seed=4) == turns).float().mean() < 0.35

    def test_touch_no_global_state(self):
        state = torch.get_rng_state()
        random_turns(1000, seed=0)
        assert torch.equal(torch.get_rng_state(), state)
