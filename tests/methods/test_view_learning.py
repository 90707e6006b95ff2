"""Shapes: B = 5 images of 20 in V = 2 views of 8 px and M = 4 of 4 px; D = 12, E = 3."""

from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quarterturn.config import BalanceConfig, DataConfig, ModelConfig
from quarterturn.data.view_batches import ViewBatch
from quarterturn.errors import ConfigError
from quarterturn.losses.contrast import contrastive_loss
from quarterturn.losses.invariance import invariance_loss
from quarterturn.losses.rotation import pu_weights
from quarterturn.methods.build import build_method, build_network, check_network, with_fitting_views
from quarterturn.methods.configuration import Config
from quarterturn.methods.multiview_options import MultiviewOptions
from quarterturn.methods.simclr_options import SimCLROptions
from quarterturn.methods.view_learning import ViewLearning
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import EmbeddingHead, ProjectionHead

NEEDS_TIMM = pytest.mark.skipif(find_spec("timm") is None, reason="timm is an extra")

N, TURNS = 20, torch.tensor([[0, 3, 1, 0, 2, 3]]).expand(5, -1).contiguous()


def config(method="multiview", **settings) -> Config:
    whole = Config(
        data=DataConfig(image_size=16),
        model=ModelConfig(backbone="nin3"),
        balance=BalanceConfig(beta=0.99, reweight_from=0.5),
    )
    return whole.with_settings(method=method, **{"embedding_dim": 3, "head_width": 7} | settings)


@pytest.fixture
def batch() -> ViewBatch:
    generator = torch.Generator().manual_seed(1)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    indices = torch.tensor([11, 3, 17, 0, 8])
    return ViewBatch(indices, randn(5, 2, 3, 16, 16), turns=TURNS, small=randn(5, 4, 3, 8, 8))


def built(method="multiview", facts=None, **settings) -> ViewLearning:
    return build_method(config(method, **settings), N, **facts or {})


def terms_of(method: ViewLearning, batch: ViewBatch, progress=0.0):
    method.network.eval()  # so that a view's feature does not depend on the others
    return method.losses(method.network, batch, 0, progress).terms


@torch.no_grad()
def features_of(method: ViewLearning, batch: ViewBatch) -> torch.Tensor:
    """(B, 6, D), one view at a time."""
    backbone = method.network.backbone.eval()
    views = [*batch.images.unbind(1), *batch.small.unbind(1)]
    return torch.stack([backbone(view) for view in views], dim=1)


def test_terms_are_the_definitions(batch):
    method = built()
    terms = terms_of(method, batch)
    assert list(terms) == ["rotation", "instance"]
    assert method.term_weights == {"rotation": 0.4, "instance": 1.0}
    features, network = features_of(method, batch), method.network
    rotation, invariant = features[..., :96], features[..., 96:]
    logits = network.rotation_head(rotation).flatten(0, 1)
    expected = F.cross_entropy(logits, TURNS.flatten())
    assert terms["rotation"].item() == pytest.approx(expected.item(), rel=1e-5)
    embeddings = torch.stack([network.embedding_head(view) for view in invariant.unbind(1)], 1)
    expected = contrastive_loss(embeddings, temperature=0.2)
    assert terms["instance"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_embeddings_are_two_layers_of_length_one(batch):
    method = built()
    method.network.eval()
    _, _, embeddings = method.network(batch.images, batch.small)
    assert embeddings.shape == (5, 6, 3)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(5, 6))
    first, norm, _, last = method.network.embedding_head
    assert isinstance(norm, nn.BatchNorm1d)
    assert first.bias is None
    assert [first.in_features, first.out_features, last.out_features] == [96, 7, 3]
    alone = built(embedding_head="linear").network.embedding_head
    assert isinstance(alone, EmbeddingHead)


def test_head_normalises_over_all_views_at_once():
    head = ProjectionHead(4, 3, width=5).train()
    features = torch.randn(2, 3, 4)
    rows = torch.cat([features.flatten(0, 1)])
    expected = F.normalize(nn.Sequential(*head)(rows), dim=1)
    torch.testing.assert_close(head(features).flatten(0, 1), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(features.bfloat16()).dtype == torch.float32


def test_running_statistics_are_those_of_full_views(batch):
    def statistics(images, small):
        network = build_network(config()).train()
        network(images, small)
        return {k: v.clone() for k, v in network.backbone.state_dict().items() if "running" in k}

    both, alone = statistics(batch.images, batch.small), statistics(batch.images, None)
    assert both.keys() == alone.keys()
    for name, values in both.items():
        assert torch.equal(values, alone[name])
    fresh = build_network(config()).backbone.state_dict()
    assert not any(torch.equal(values, fresh[name]) for name, values in both.items())


def test_small_views_are_normalised_by_their_own_statistics(batch):
    network = build_network(config()).train()
    _, compared, _ = network(batch.images, batch.small)
    fresh = build_network(config()).backbone.train()
    expected = fresh(batch.small.flatten(0, 1)).unflatten(0, (5, 4))[..., 96:]
    torch.testing.assert_close(compared[:, 2:], expected)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.track_running_stats for norm in norms)


def test_upright_weights_go_by_the_turn_of_a_view(batch):
    p_upright = torch.rand(N, 4)
    method = built(facts={"p_upright": p_upright}, upright="auto", noise_aware_from=0.5)
    plain = terms_of(built(), batch)["rotation"]
    assert terms_of(method, batch, 0.49)["rotation"] == plain
    found = terms_of(method, batch, 0.5)["rotation"]
    logits = method.network.rotation_head(features_of(method, batch)[..., :96])
    losses = F.cross_entropy(logits.flatten(0, 1), TURNS.flatten(), reduction="none").view(5, 6)
    weights = pu_weights(p_upright)
    expected = sum(
        weights[batch.indices[b], TURNS[b, v]] * losses[b, v] for b in range(5) for v in range(6)
    )
    assert found.item() == pytest.approx(expected.item() / 30, rel=1e-5)


def test_balanced_turns_have_margins_and_weights_by_view(batch):
    p_upright = torch.rand(N, 4)
    method = built(
        facts={"p_upright": p_upright}, upright="auto", balance_turns=True, noise_aware_from=1.0
    )
    balance = method.balance.rotation.turns
    cosines = method.network.rotation_head(features_of(method, batch)[..., :96]).flatten(0, 1)
    turns = TURNS.flatten()
    logits = cosines.clone()
    logits[torch.arange(30), turns] -= balance.margins[turns]
    losses = F.cross_entropy(30 * logits, turns, reduction="none")
    late, early = (terms_of(method, batch, progress)["rotation"] for progress in (0.5, 0.0))
    assert early.item() == pytest.approx(losses.mean().item(), rel=1e-5)
    weights = balance.weights[turns]
    expected = (weights * losses).sum() / weights.sum()
    assert late.item() == pytest.approx(expected.item(), rel=1e-5)
    amounts = method.amounts(batch, 0.5)
    assert amounts["rotation"].item() == pytest.approx(weights.sum().item())
    assert amounts["instance"] == 5


def test_kinds_weigh_images_in_the_instance_loss(batch):
    labels = torch.tensor([0] * 12 + [1] * 8)
    method = built(facts={"labels": labels}, balance_semantic=True, counts="labels")
    kinds, balance = labels[batch.indices], method.balance.semantic.balance
    embeddings = method.network.eval().embed(features_of(method, batch))
    margins, weights = balance.margins[kinds], balance.weights[kinds]
    for progress, more in [(0.0, {}), (0.5, {"weights": weights})]:
        expected = contrastive_loss(embeddings, temperature=0.2, margins=margins, **more)
        found = terms_of(method, batch, progress)["instance"]
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_clusters_come_from_a_pass_and_nothing_is_kept():
    rows = torch.cat([F.one_hot(torch.zeros(14).long(), 3), F.one_hot(torch.ones(6).long(), 3)])
    asked = []

    def embed(network):
        asked.append(network)
        return rows.float()

    method = built(facts={"embed_images": embed}, balance_semantic=True, num_clusters=2)
    told = {epoch: method.before_epoch(epoch, 10) for epoch in range(6)}
    assert asked == [method.network]  # before epoch 5, and then only
    assert sorted(told[5]["semantic"]["counts"]) == [6, 14]
    assert list(method.state_dict()) == ["semantic"]
    assert built().state_dict() == {}
    fresh = built(facts={"embed_images": embed}, balance_semantic=True, num_clusters=2)
    fresh.load_state_dict(method.state_dict())
    assert torch.equal(fresh.balance.semantic.class_of, method.balance.semantic.class_of)


def test_invariance_is_between_small_views_of_one_crop(batch):
    method = built(same_crop=True, invariance_weight=0.3)
    assert method.term_weights == {"rotation": 0.4, "invariance": 0.3, "instance": 1.0}
    found = terms_of(method, batch)["invariance"]
    expected = invariance_loss(features_of(method, batch)[:, 2:, 96:])
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_simclr_sees_the_whole_feature_upright(batch):
    method = built("simclr")
    assert method.views.num_small == 0
    assert not method.views.turned
    assert method.network.heads == ("embedding_head",)
    upright = ViewBatch(batch.indices, batch.images, turns=0 * TURNS[:, :2])
    terms = terms_of(method, upright)
    assert list(terms) == ["instance"]
    embeddings = method.network.embed(features_of(method, batch)[:, :2])
    expected = contrastive_loss(embeddings, temperature=0.2)
    assert terms["instance"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert list(method.network.parts(torch.zeros(1, 192))) == ["whole"]


def test_simclr_with_both_losses_is_multiview_unsplit(batch):
    method = built("simclr", turned_views=True, num_small_views=4, rotation_weight=0.4)
    assert method.views.turned
    assert method.term_weights == {"rotation": 0.4, "instance": 1.0}
    terms, features = terms_of(method, batch), features_of(method, batch)
    logits = method.network.rotation_head(features).flatten(0, 1)
    expected = F.cross_entropy(logits, TURNS.flatten())
    assert terms["rotation"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("method", ["multiview", "simclr"])
def test_losses_change_no_state(method, batch, state_of, unchanged):
    method = built(method, num_small_views=4)
    method.network.train()
    before = state_of(method)
    output = method.losses(method.network, batch, step=3)
    sum(output.terms.values()).backward()
    assert unchanged(before, state_of(method))
    assert output.embeddings is None
    assert all(p.grad is not None for p in method.network.parameters())


def test_views_of_a_configuration():
    law = built(num_small_views=3, small_scale=0.75, hue=0.2, same_turn=0.5, same_crop=True).views
    assert (law.num_full, law.num_small, law.small_side) == (2, 3, 12)
    assert (law.turned, law.same_crop, law.same_turn, law.colour.hue) == (True, True, 0.5, 0.2)
    assert (law.colour.jitter, law.colour.brightness, law.colour.grey) == (0.8, 0.4, 0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 2}, r"^--accumulate is 2; expected 1 with --method multiview, which"),
        ({"crop_padding": 2}, r"^--crop-padding is 2; expected 0 with --method multiview"),
        ({"small_scale": 0.3}, r"^--small-scale is 0.3\d*; expected small views of 8 px or more"),
        ({"num_small_views": 0, "num_views": 1}, r"^--num-views is 1; expected 2 or more without"),
        (
            {"same_crop": True, "num_small_views": 1},
            r"^--num-small-views is 1; expected 2 to 4 with",
        ),
        (
            {"same_crop": True, "num_small_views": 5},
            r"^--num-small-views is 5; expected 2 to 4 with",
        ),
        ({"same_turn": 0.5, "num_views": 1}, r"^--same-turn is 0.5; expected 0 with --num-views 1"),
        (
            {"invariance_weight": 1.0},
            r"^--invariance-weight is 1.0; expected 0 without",
        ),
        ({"hue": 0.6}, r"^--hue is 0.6; expected from 0 to 0.5"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation_weight": 0.4}, "--rotation-weight is 0.4; expected 0 without --turned-views"),
        ({"same_turn": 0.5}, "--same-turn is 0.5; expected 0 without --turned-views"),
        (
            {"same_crop": True, "num_small_views": 4},
            "--same-crop is True; expected false without --turned-views",
        ),
        ({"upright": "auto"}, "has no rotation loss"),
    ],
)
def test_simclr_without_turns_refuses_what_is_about_them(settings, message):
    with pytest.raises(ConfigError, match=message):
        config("simclr", **settings).check()
    more = {"turned_views": True, "rotation_weight": 0.4}
    config("simclr", **more | settings).check()


@pytest.mark.parametrize(
    "backbone", ["convnet", "alexnet", pytest.param("timm:vit_tiny_patch16_224", marks=NEEDS_TIMM)]
)
def test_a_backbone_of_one_size_takes_full_views_only(backbone):
    settings = config(backbone=backbone, image_size=64)
    with pytest.raises(ConfigError, match=r"takes no views of 32 px: give --num-small-views 0"):
        check_network(settings)
    check_network(settings.with_settings(num_small_views=0))


def test_default_small_views_are_left_out_where_they_cannot_work(caplog):
    with caplog.at_level("WARNING", "quarterturn"):
        found = with_fitting_views(config(backbone="convnet", image_size=64))
    assert found == config(backbone="convnet", image_size=64, num_small_views=0)
    assert "convnet takes images of one size, so each image has 2 full views" in caplog.text
    for kept in (
        config(backbone="resnet18", image_size=64),
        config(backbone="convnet", image_size=64, num_small_views=3),  # asked for: refused later
        config("simclr", backbone="convnet", image_size=64),
        Config(),  # a method without views
    ):
        assert with_fitting_views(kept) == kept


@pytest.mark.parametrize(
    "backbone", ["resnet18", "resnet20", "nin", pytest.param("timm:resnet10t", marks=NEEDS_TIMM)]
)
def test_backbones_that_pool_take_small_views(backbone):
    settings = config(backbone=backbone, image_size=32)
    check_network(settings)
    with torch.no_grad():
        features = build_network(settings).eval().backbone(torch.zeros(1, 3, 16, 16))
    assert features.shape == (1, build_network(settings).backbone.feature_dim)


def test_an_odd_feature_has_no_halves(tiny_backbone: Backbone):
    tiny_backbone.feature_dim = 11
    from quarterturn.methods import multiview

    with pytest.raises(ConfigError, match=r"odd width 11.*--method simclr takes it whole"):
        multiview.build_network(config(), tiny_backbone, 0)


def test_defaults_of_another_method_are_not_taken_over():
    before = Config()  # decoupling, whose rotation loss weighs 1
    assert before.with_settings(method="multiview").method == MultiviewOptions()
    chosen = before.with_settings(rotation_weight=0.7, temperature=0.1, embedding_dim=64)
    assert chosen.with_settings(method="multiview").method == MultiviewOptions(
        rotation_weight=0.7, temperature=0.1, embedding_dim=64
    )
    assert chosen.with_settings(method="simclr").method == SimCLROptions(
        rotation_weight=0.7, temperature=0.1, embedding_dim=64
    )
