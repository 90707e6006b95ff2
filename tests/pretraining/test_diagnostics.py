import math
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from quarterturn.data.sources import open_source
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling import DecoupledNetwork
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.instance import InstanceNetwork
from quarterturn.methods.multiview_options import MultiviewOptions
from quarterturn.methods.rotnet import RotationNetwork
from quarterturn.pretraining.diagnostics import (
    COLLAPSED_RANK,
    COLLAPSED_SPREAD,
    collapse_warning,
    diagnose,
    fresh_head,
    rotation_accuracy,
)

METHOD = DecouplingOptions()


def edges(views: Tensor) -> Tensor:
    """(B, 3, S, S) to (B, 4): which edge is brightest. The sky of copy k is on the k-th."""
    return torch.stack(
        [
            views[:, :, 0].amin(dim=(1, 2)),  # up
            views[:, :, :, 0].amin(dim=(1, 2)),  # left: a quarter turn counter-clockwise
            views[:, :, -1].amin(dim=(1, 2)),
            views[:, :, :, -1].amin(dim=(1, 2)),
        ],
        dim=1,
    )


def colours(views: Tensor) -> Tensor:
    """(B, 3, S, S) to (B, 4), the same for all turns to the last bit."""
    ordered = views.flatten(1).sort(dim=1).values
    return ordered[:, 10:170:40]


class Fixed(nn.Module):
    """A backbone without weights, of the given halves."""

    def __init__(self, *halves) -> None:
        super().__init__()
        self.halves = halves
        self.feature_dim = 4 * len(halves)

    def forward(self, views: Tensor) -> Tensor:
        return torch.cat([half(views) for half in self.halves], dim=1)


def decoupled(rotation, invariant) -> DecoupledNetwork:
    """A network whose rotation head takes the turn from the brightest edge."""
    network = DecoupledNetwork(Fixed(rotation, invariant), 4)
    network.rotation_head.weight.data = torch.eye(4)
    network.rotation_head.bias.data.zero_()
    return network


class TestFigures:
    def test_rotation_accuracy(self):
        perfect = torch.eye(4).expand(10, 4, 4)
        assert rotation_accuracy(perfect) == 1.0
        assert rotation_accuracy(torch.tensor([0.0, 3.0, 1.0, 2.0]).expand(10, 4, 4)) == 0.25
        assert rotation_accuracy(perfect.roll(1, dims=2)) == 0.0
        half = perfect.clone()
        half[:, 2:] = half[:, 2:].roll(1, dims=2)
        assert rotation_accuracy(half) == 0.5

    def test_fresh_head_on_what_does_not_turn(self):
        values = torch.randn(40, 1, 6, generator=torch.Generator().manual_seed(0))
        accuracy, loss = fresh_head(values.expand(40, 4, 6))
        assert accuracy == 0.25
        assert loss == pytest.approx(math.log(4), abs=1e-3)

    def test_fresh_head_on_a_turn_in_hiding(self):
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(40, 1, 6, generator=generator).repeat(1, 4, 1)
        mixing = torch.randn(4, 6, generator=generator) * 5
        accuracy, loss = fresh_head(values + torch.eye(4) @ mixing)
        assert accuracy > 0.95
        assert 0 < loss < 0.2

    def test_fresh_head_is_tested_on_other_images(self):
        # Noise wide enough to learn every training copy by heart; on others it is chance.
        values = torch.randn(30, 4, 300, generator=torch.Generator().manual_seed(0))
        assert 0.05 < fresh_head(values)[0] < 0.45


class TestDiagnose:
    def test_a_truly_invariant_half_does_not_leak(self, with_sky, crop):
        found = dict(diagnose(decoupled(edges, colours), with_sky(40), crop))
        assert list(found) == [
            "rotation_accuracy",
            "rotation_loss",
            "leakage_same_head",
            "leakage_same_head_loss",
            "leakage_fresh_head",
            "leakage_fresh_head_loss",
            "invariance_loss",
            "spread",
            "effective_rank",
        ]
        assert found["rotation_accuracy"] == 1.0
        assert found["leakage_same_head"] == 0.25
        assert found["leakage_fresh_head"] == 0.25
        assert found["rotation_loss"] < math.log(4) < found["leakage_same_head_loss"] + 1e-4
        assert found["leakage_fresh_head_loss"] == pytest.approx(math.log(4), abs=1e-3)
        assert found["invariance_loss"] == 0.0

    def test_a_half_that_holds_the_turn_leaks(self, with_sky, crop):
        found = dict(diagnose(decoupled(colours, edges), with_sky(40), crop))
        assert found["rotation_accuracy"] == 0.25
        assert found["leakage_same_head"] == 1.0
        assert found["leakage_fresh_head"] == 1.0
        assert found["leakage_fresh_head_loss"] < 0.1
        assert found["leakage_same_head_loss"] < math.log(4) <= found["rotation_loss"] + 1e-4
        assert found["invariance_loss"] > 0.01

    def test_a_head_that_says_always_the_same(self, with_sky, crop):
        network = decoupled(edges, colours)
        network.rotation_head.bias.data[2] = 100.0
        assert dict(diagnose(network, with_sky(20), crop))["rotation_accuracy"] == 0.25

    def test_rotnet_has_only_rotation_diagnostics(self, with_sky, crop):
        network = RotationNetwork(Fixed(edges))
        network.rotation_head.weight.data = torch.eye(4)
        network.rotation_head.bias.data.zero_()
        found = dict(diagnose(network, with_sky(20), crop))
        assert list(found) == ["rotation_accuracy", "rotation_loss"]
        assert found["rotation_accuracy"] == 1.0

    def test_instance_has_only_embedding_diagnostics(self, random_images, crop):
        network = InstanceNetwork(Fixed(edges), 4)
        assert list(dict(diagnose(network, random_images(20), crop))) == [
            "spread",
            "effective_rank",
        ]

    def test_images_beyond_a_batch(self, with_sky, crop):
        found = dict(diagnose(decoupled(edges, colours), with_sky(150), crop))
        assert found["rotation_accuracy"] == 1.0
        assert found["leakage_fresh_head"] == 0.25

    def test_leaves_out_and_reports_files_that_fail(self, with_sky, crop, tmp_path):
        for i, pixels in enumerate(with_sky(12).pixels):
            Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
        files = open_source(str(tmp_path)).train
        files.path(5).unlink()
        failed: dict[int, str] = {}
        found = dict(diagnose(decoupled(edges, colours), files, crop, failed=failed))
        assert failed == {5: "No such file or directory"}
        assert found["rotation_accuracy"] == 1.0


class TestSpread:
    def of(self, views_to_features, images, crop) -> dict[str, float]:
        backbone = Fixed(views_to_features)
        backbone.feature_dim = 8 * 8 * 3
        network = InstanceNetwork(backbone, 32)
        with torch.no_grad():
            weights = torch.randn(32, 192, generator=torch.Generator().manual_seed(0))
            network.embedding_head.weight.copy_(weights)
            network.embedding_head.bias.zero_()
        return dict(diagnose(network, images, crop))

    def test_of_one_embedding_for_all(self, random_images, crop):
        found = self.of(lambda views: torch.ones(len(views), 192), random_images(50), crop)
        assert found["spread"] == pytest.approx(0, abs=1e-6)
        assert found["effective_rank"] == pytest.approx(1, abs=1e-6)
        assert "--instance-loss infonce, a lower" in collapse_warning(found, METHOD)
        assert "--instance-loss" not in collapse_warning(found, MultiviewOptions())

    def test_of_embeddings_all_over(self, random_images, crop):
        found = self.of(lambda views: views.flatten(1), random_images(200), crop)
        assert 0.97 < found["spread"] <= 1
        assert 20 < found["effective_rank"] <= 32
        assert collapse_warning(found, METHOD) is None

    def test_of_two_opposite_embeddings(self, random_images, crop):
        def sign(views: Tensor) -> Tensor:
            return torch.ones(len(views), 192) * (-1.0) ** torch.arange(len(views))[:, None]

        # 20 images in four copies go through as one batch, so the uprights are rows 0, 4, 8 ...
        found = self.of(
            lambda views: sign(views[::4]).repeat_interleave(4, 0), random_images(20), crop
        )
        assert found["spread"] == pytest.approx(1, abs=1e-6)
        assert found["effective_rank"] == pytest.approx(1, abs=1e-6)
        assert collapse_warning(found, METHOD) is not None

    def test_averages_copies_only_where_the_loss_does(self, with_sky, crop):
        def alternating(views: Tensor) -> Tensor:
            """An image's own features, by turns with their opposite: of mean zero."""
            own = views.flatten(2).mean(dim=2) + 0.4
            upright_or_half = (edges(views) == 1).float() @ torch.tensor([1.0, -1, 1, -1])
            return torch.cat([own, own[:, :1] - own[:, 1:2]], dim=1) * upright_or_half[:, None]

        network, images = decoupled(edges, alternating), with_sky(40)
        assert dict(diagnose(network, images, crop))["spread"] == pytest.approx(0, abs=1e-6)
        network = InstanceNetwork(Fixed(alternating), 4)
        network.embedding_head.weight.data = torch.eye(4)
        network.embedding_head.bias.data.zero_()
        assert dict(diagnose(network, images, crop))["spread"] > 0.1


class TestChangesNothing:
    @pytest.mark.parametrize("method", ["decoupling", "multiview", "rotnet", "instance"])
    @pytest.mark.parametrize("training", [True, False])
    def test_of_the_network(self, random_images, crop, method, training):
        config = Config().with_settings(backbone="convnet", image_size=8, method=method)
        network = build_network(config).train(training)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        assert dict(diagnose(network, random_images(20), crop))
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert all(module.training == training for module in network.modules())
        assert all(p.requires_grad and p.grad is None for p in network.parameters())
        assert torch.equal(torch.get_rng_state(), states[0])
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
        assert random.getstate() == states[2]

    def test_even_when_the_figures_are_not_all_taken(self, with_sky, crop):
        network = decoupled(edges, colours).train()
        figures = diagnose(network, with_sky(20), crop)
        assert next(figures) == ("rotation_accuracy", 1.0)
        assert network.training
        assert torch.is_grad_enabled()

    def test_after_an_error(self, random_images, crop):
        def broken(views: Tensor) -> Tensor:
            raise RuntimeError("broken")

        network = decoupled(edges, broken).train()
        with pytest.raises(RuntimeError, match="broken"):
            list(diagnose(network, random_images(20), crop))
        assert network.training


class TestCollapseWarning:
    @pytest.mark.parametrize(
        ("spread", "rank"),
        [
            (0.0, 1.0),
            (COLLAPSED_SPREAD - 1e-6, 30.0),  # nearly all in one place
            (0.9, COLLAPSED_RANK - 1e-6),  # far apart, on a line
        ],
    )
    def test_fires(self, spread, rank):
        message = collapse_warning({"spread": spread, "effective_rank": rank}, METHOD)
        assert message.startswith("the embeddings have collapsed")
        assert f"spread {spread:.4f}" in message
        assert f"{rank:.1f} directions" in message

    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"rotation_accuracy": 0.1},
            {"spread": COLLAPSED_SPREAD, "effective_rank": COLLAPSED_RANK},
            {"spread": 0.9, "effective_rank": 30.0},
        ],
    )
    def test_is_silent(self, values):
        assert collapse_warning(values, METHOD) is None
