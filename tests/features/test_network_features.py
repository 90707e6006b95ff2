import math

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import ConfigError
from quarterturn.features.extraction import extract_parts
from quarterturn.features.network_features import NetworkFeatures, Pixels, pooled
from quarterturn.methods.base import Network
from quarterturn.methods.decoupling import DecoupledNetwork
from quarterturn.methods.instance import InstanceNetwork
from quarterturn.methods.rotnet import RotationNetwork
from quarterturn.models.backbone import Backbone
from quarterturn.models.probe_heads import MaxPoolTo


class Counted(nn.Module):
    """A stage that counts how often it is computed."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage, self.calls = stage, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.stage(x)


@pytest.fixture
def backbone() -> Backbone:
    """8 px to maps of 8, 4 and 2 px, then a vector of 6; ``between`` is not offered."""
    stages = {
        "conv1": nn.Conv2d(3, 2, 3, padding=1),
        "between": nn.ReLU(),
        "conv2": nn.Conv2d(2, 5, 3, padding=1, stride=2),
        "conv3": nn.Conv2d(5, 3, 3, padding=1, stride=2),
        "fc": nn.Sequential(nn.Flatten(), nn.Linear(12, 6)),
    }
    return Backbone(
        [(name, Counted(stage)) for name, stage in stages.items()],
        ["conv1", "conv2", "conv3", "fc"],
        feature_dim=6,
    )


@pytest.fixture
def views() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def averaged(maps: np.ndarray, grid: int) -> np.ndarray:
    """Means over a grid of squares that cover each map, by a loop: (B, C, H, W) to (B, C*g*g)."""
    count, channels, height, width = maps.shape
    rows, columns = min(grid, height), min(grid, width)
    found = np.zeros((count, channels, rows, columns))
    for b in range(count):
        for c in range(channels):
            for i in range(rows):
                for j in range(columns):
                    # A square that does not end on a pixel's border takes the pixel in.
                    top, bottom = i * height // rows, math.ceil((i + 1) * height / rows)
                    left, right = j * width // columns, math.ceil((j + 1) * width / columns)
                    values = [
                        maps[b, c, y, x] for y in range(top, bottom) for x in range(left, right)
                    ]
                    found[b, c, i, j] = sum(values) / len(values)
    return found.reshape(count, -1)


class TestPooled:
    @pytest.mark.parametrize("grid", [1, 2, 3, 4])
    @pytest.mark.parametrize("side", [(4, 4), (5, 5), (7, 3), (1, 1), (2, 6)])
    def test_is_a_loop_over_squares(self, rng, grid, side):
        maps = rng.normal(size=(2, 3, *side))
        found = pooled(torch.from_numpy(maps), grid).numpy()
        np.testing.assert_allclose(found, averaged(maps, grid), rtol=0, atol=1e-12)

    def test_one_square_is_the_mean_of_the_map(self, rng):
        maps = torch.from_numpy(rng.normal(size=(3, 4, 5, 7)))
        torch.testing.assert_close(pooled(maps), maps.mean(dim=(2, 3)), rtol=0, atol=1e-12)

    def test_quarters_by_hand(self):
        maps = torch.arange(16.0).view(1, 1, 4, 4)
        assert pooled(maps, 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]

    def test_squares_of_a_channel_stand_together(self):
        maps = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
        assert pooled(maps, 2).tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]

    def test_a_map_smaller_than_the_grid_is_taken_whole(self, rng):
        maps = torch.from_numpy(rng.normal(size=(2, 3, 2, 2)))
        assert torch.equal(pooled(maps, 5), maps.flatten(1))

    def test_vectors_stay(self, rng):
        vectors = torch.from_numpy(rng.normal(size=(3, 4)))
        assert pooled(vectors, 3) is vectors


class TestParts:
    def test_decoupled_has_halves(self, backbone, views):
        network = DecoupledNetwork(backbone, 4)
        found = NetworkFeatures(network)(views)
        features = backbone(views)
        assert list(found) == ["rotation", "invariant", "both"]
        assert torch.equal(found["rotation"], features[:, :3])
        assert torch.equal(found["invariant"], features[:, 3:])
        assert torch.equal(found["both"], features)

    @pytest.mark.parametrize("make", [RotationNetwork, lambda b: InstanceNetwork(b, 4)])
    def test_others_have_the_whole(self, backbone, views, make):
        found = NetworkFeatures(make(backbone))(views)
        assert list(found) == ["whole"]
        assert torch.equal(found["whole"], backbone(views))

    def test_pixels(self, views):
        found = Pixels()(views)
        assert list(found) == ["pixels"]
        assert torch.equal(found["pixels"], views.reshape(4, -1))


class TestLayers:
    @pytest.mark.parametrize("asked", [("conv1", "fc", "conv2"), ("fc", "conv2", "conv1")])
    def test_by_name_in_the_chains_order(self, backbone, views, asked):
        found = NetworkFeatures(DecoupledNetwork(backbone, 4), asked)(views)
        assert list(found) == ["conv1", "conv2", "rotation", "invariant", "both"]
        expected = {}
        values = views
        for name, stage in backbone.stages.items():
            values = stage(values)
            expected[name] = values
        for name in ("conv1", "conv2"):
            maps = expected[name].detach().double().numpy()
            np.testing.assert_allclose(found[name].detach(), averaged(maps, 1), atol=1e-6)
        assert torch.equal(found["both"], expected["fc"])

    @pytest.mark.parametrize(
        ("grid", "widths"), [(1, [2, 5, 3]), (2, [8, 20, 12]), (3, [18, 45, 12])]
    )
    def test_maps_over_a_grid_and_the_last_as_it_is(self, backbone, views, grid, widths):
        model = NetworkFeatures(DecoupledNetwork(backbone, 4), backbone.layers, grid)
        found = model(views)
        assert [values.shape[1] for values in found.values()] == [*widths, 3, 3, 6]
        maps = backbone.features(views, ["conv2"])["conv2"].detach().double().numpy()
        np.testing.assert_allclose(found["conv2"].detach(), averaged(maps, grid), atol=1e-6)

    @pytest.mark.parametrize("training", [True, False])
    def test_a_pass_over_images_leaves_the_networks_mode(self, backbone, training):
        network = Network(backbone).train(training)
        images = ArrayImages(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"])
        extract_parts(images, DataConfig(image_size=8), NetworkFeatures(network))
        assert network.training == backbone.training == training

    def test_without_the_last_there_are_no_halves(self, backbone, views):
        found = NetworkFeatures(DecoupledNetwork(backbone, 4), ("conv3",))(views)
        assert {name: tuple(values.shape) for name, values in found.items()} == {"conv3": (4, 3)}

    def test_nothing_beyond_the_last_asked_for_is_computed(self, backbone, views):
        NetworkFeatures(DecoupledNetwork(backbone, 4), ("conv2", "conv1"))(views)
        calls = {name: stage.calls for name, stage in backbone.stages.items()}
        assert calls == {"conv1": 1, "between": 1, "conv2": 1, "conv3": 0, "fc": 0}

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            (("conv9",), "no layers conv9; the backbone has conv1, conv2, conv3, fc"),
            (("fc", "conv0", "between"), "no layers conv0, between; the backbone has conv1, "),
            ((), "no layers named; the backbone has conv1, conv2, conv3, fc"),
        ],
    )
    def test_unknown_ones_are_refused_with_those_offered(self, backbone, asked, told):
        with pytest.raises(ConfigError, match=told):
            NetworkFeatures(DecoupledNetwork(backbone, 4), asked)

    def test_a_network_with_parts_of_its_own(self, backbone, views):
        class Named(Network):
            def parts(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
                return {"doubled": features * 2}

        found = NetworkFeatures(Named(backbone), ("conv1", "fc"))(views)
        assert list(found) == ["conv1", "doubled"]
        assert torch.equal(found["doubled"], 2 * backbone(views))


class TestFingerprint:
    def test_depends_only_on_backbone_and_heads(self, backbone):
        network = DecoupledNetwork(backbone, 4)
        one, other = NetworkFeatures(network), NetworkFeatures(network, ("conv1",), 2)
        assert one.fingerprint == other.fingerprint

    @pytest.mark.parametrize("part", ["backbone", "rotation_head", "embedding_head"])
    def test_changes_with_any_part(self, backbone, part):
        network = DecoupledNetwork(backbone, 4)
        before = NetworkFeatures(network).fingerprint
        weight = next(getattr(network, part).parameters()).data
        weight[(0,) * weight.ndim] += 1
        assert NetworkFeatures(network).fingerprint != before


class TestPool:
    """What maps go through in place of a grid."""

    def test_is_for_maps_and_passes_vectors(self, backbone, views):
        network, pool = DecoupledNetwork(backbone, 4), MaxPoolTo(20)
        found = NetworkFeatures(network, ("conv1", "fc"), pool=pool)(views)
        maps = backbone.features(views, ["conv1"])["conv1"]
        assert torch.equal(found["conv1"], nn.functional.adaptive_max_pool2d(maps, 3))
        assert torch.equal(found["both"], backbone(views))

    def test_that_does_nothing_keeps_the_maps(self, backbone, views):
        found = NetworkFeatures(Network(backbone), ("conv2",), pool=nn.Identity())(views)
        assert found["conv2"].shape == (4, 5, 4, 4)

    def test_is_part_of_what_features_are_known_by(self, backbone):
        images = ArrayImages(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"])

        def key(layer, **options) -> str:
            model = NetworkFeatures(Network(backbone), (layer,), **options)
            return model.cache_key(layer, images, DataConfig())

        pools = [{"pool": MaxPoolTo(20)}, {"pool": MaxPoolTo(30)}, {"pool": nn.Identity()}, {}]
        assert len({key("conv1", **options) for options in pools}) == 4
        assert key("conv1", pool=MaxPoolTo(20)) == key("conv1", pool=MaxPoolTo(20))
        assert len({key("fc", **options) for options in pools}) == 1  # a vector
