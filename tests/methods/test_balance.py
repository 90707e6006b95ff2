import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.config import BalanceConfig, DataConfig, ModelConfig
from quarterturn.data.batches import Batch
from quarterturn.errors import ConfigError
from quarterturn.losses.ldam import ldam_margins
from quarterturn.losses.weights import effective_number_weights
from quarterturn.methods.balance import PretextBalance, build_balance
from quarterturn.methods.build import build_method
from quarterturn.methods.class_balance import Balance
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.rotation_balance import RotationBalance, turn_counts
from quarterturn.methods.semantic_balance import SemanticBalance
from quarterturn.models.heads import CosineHead, LinearHead

SETTINGS = BalanceConfig(beta=0.99, reweight_from=0.5)


def config(**settings):
    whole = Config(
        data=DataConfig(image_size=16),
        model=ModelConfig(backbone="convnet"),
        method=DecouplingOptions(num_noise=4, embedding_dim=8),
        balance=SETTINGS,
    )
    return whole.with_settings(**settings)


def test_turn_counts_by_hand():
    # One image that has an up, and one that looks upright in all turns.
    p = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0.5]])
    assert turn_counts(p).tolist() == [2 + 2.5, 1, 1, 1.5]


def test_turn_counts_are_a_loop(rng):
    p = rng.uniform(size=(50, 4))
    expected = [50.0, 0.0, 0.0, 0.0]
    for row in p:
        for k in (1, 2, 3):
            expected[0] += row[k]
            expected[k] += 1 - row[k]
    assert turn_counts(torch.tensor(p)).tolist() == pytest.approx(expected)


def test_a_copy_has_the_larger_margin_and_both_weights():
    turns = Balance.of(torch.tensor([300.0, 20, 20, 40]), SETTINGS)
    groups = Balance.of(torch.tensor([95, 5]), SETTINGS)
    group_of = torch.tensor([0, 1, 0])
    balance = RotationBalance(30.0, turns, groups, group_of)
    indices = torch.tensor([2, 1])
    for row, group in enumerate([0, 1]):
        for k in range(4):
            margin = max(turns.margins[k].item(), groups.margins[group].item())
            assert balance.margins(indices)[row, k].item() == pytest.approx(margin)
            weight = (turns.weights[k] * groups.weights[group]).item()
            assert balance.weights(indices)[row, k].item() == pytest.approx(weight)
    alone = RotationBalance(30.0, turns=turns)
    assert torch.equal(alone.weights(indices), turns.weights.expand(2, 4))


def blobs(sizes, rng):
    """Unit vectors around a few directions."""
    centres = np.eye(len(sizes), 8)
    rows = np.concatenate([centres[c] + rng.normal(0, 0.05, (n, 8)) for c, n in enumerate(sizes)])
    return F.normalize(torch.from_numpy(rows).float(), dim=1)


def test_clusters_find_the_sizes_of_kinds(rng):
    balance = SemanticBalance(SETTINGS, num_clusters=3, every=2)
    rows = blobs([60, 25, 5], rng)
    assert [balance.is_due(epoch) for epoch in range(5)] == [False, False, True, False, True]
    assert balance.balance is None
    balance.cluster(rows)
    assert sorted(balance.balance.counts.tolist()) == [5, 25, 60]
    first = balance.class_of
    assert len(first[:60].unique()) == len(first[60:85].unique()) == len(first[85:].unique()) == 1
    assert torch.equal(balance.balance.margins, ldam_margins(balance.balance.counts))
    expected = effective_number_weights(balance.balance.counts, 0.99)
    assert torch.equal(balance.balance.weights, expected)
    again = SemanticBalance(SETTINGS, num_clusters=3, every=2)
    again.cluster(rows)
    assert torch.equal(again.class_of, first)


def test_fewer_images_than_clusters(rng):
    balance = SemanticBalance(SETTINGS, num_clusters=10, every=1)
    balance.cluster(blobs([2, 1], rng))
    assert sorted(balance.balance.counts.tolist()) == [0] * 7 + [1] * 3
    assert len(balance.class_of.unique()) == 3


def test_all_is_worked_out_on_the_cpu():
    """Not every device has float64; of one that has nothing at all no figure can come."""
    agnostic, labels, meta = torch.tensor([0.1, 0.9]), torch.tensor([0, 1]), torch.device("meta")
    switches = {"balance_turns": True, "balance_agnostic": True, "balance_semantic": True}
    made = build_balance(
        config(**switches, counts="labels"),
        p_upright=torch.rand(2, 4),
        agnostic=agnostic,
        labels=labels,
        device=meta,
    )
    for balance in (made.rotation.turns, made.rotation.groups, made.semantic.balance):
        assert balance.margins.device == balance.weights.device == meta
        assert balance.counts.sum().item() in (2, 8)  # images, or their copies
    assert made.rotation.group_of.device == made.semantic.class_of.device == meta


def test_clusters_survive_a_checkpoint(rng):
    balance = PretextBalance(semantic=SemanticBalance(SETTINGS, num_clusters=3, every=1))
    balance.semantic.cluster(blobs([9, 5, 3], rng))
    fresh = PretextBalance(semantic=SemanticBalance(SETTINGS, num_clusters=3, every=1))
    fresh.load_state_dict(balance.state_dict())
    indices = torch.arange(17)
    for found, expected in zip(
        fresh.image_margins_and_weights(indices, 1),
        balance.image_margins_and_weights(indices, 1),
        strict=True,
    ):
        assert torch.equal(found, expected)


def test_weights_come_late_and_margins_at_once():
    labels = torch.tensor([0, 0, 0, 1])
    semantic = SemanticBalance(SETTINGS, num_clusters=2, every=1, labels=labels)
    balance = PretextBalance(semantic=semantic, start=0.5)
    indices = torch.tensor([3, 0])
    margins, weights = balance.image_margins_and_weights(indices, 0.49)
    assert margins.tolist() == pytest.approx([0.5, 0.5 * 3**-0.25])
    assert weights is None
    _, weights = balance.image_margins_and_weights(indices, 0.5)
    assert torch.equal(weights, effective_number_weights([3, 1], 0.99)[labels[indices]])


def test_reports_the_settings_in_force():
    labels = torch.tensor([0, 0, 0, 1])
    semantic = SemanticBalance(SETTINGS, num_clusters=2, every=1, labels=labels)
    turns = Balance.of(torch.tensor([30.0, 2, 2, 4]), SETTINGS)
    balance = PretextBalance(RotationBalance(30.0, turns), semantic, start=0.5)
    told = {e: news for e in range(4) if (news := balance.before_epoch(e, 4, lambda: None))}
    assert list(told) == [0, 2]
    assert told[0].keys() == {"turns", "semantic"}
    assert told[0]["semantic"]["counts"] == [3, 1]
    assert told[0]["turns"]["weights"] is None
    assert told[2]["turns"]["weights"] == turns.weights.tolist()
    assert PretextBalance().before_epoch(0, 4, lambda: None) == {}
    assert PretextBalance().state_dict() == {}


def batch_of(num, side=16):
    images = torch.randn(num, 3, side, side, generator=torch.Generator().manual_seed(1))
    return Batch(torch.arange(num), images)


@pytest.mark.parametrize("name", ["decoupling", "rotnet"])
def test_balanced_turns_are_ldam_of_the_turns(name):
    p = torch.rand(6, 4)
    made = build_method(config(method=name, upright="auto", balance_turns=True), 6, p_upright=p)
    network, batch = made.network.eval(), batch_of(6)
    assert isinstance(network.rotation_head, CosineHead)
    made.copy_weights = None  # of the noise-aware phase, which is not in question here
    margins = ldam_margins(turn_counts(p))
    weights = effective_number_weights(turn_counts(p), 0.99)
    for progress, in_force in [(0.0, torch.ones(4)), (0.5, weights)]:
        output = network(batch.images)
        cosines = output if name == "rotnet" else output[0]
        total = 0.0
        for i in range(6):
            for k in range(4):
                row = [
                    30 * (z - (margins[k].item() if c == k else 0))
                    for c, z in enumerate(cosines[i, k].tolist())
                ]
                log_sum = max(row) + math.log(sum(math.exp(z - max(row)) for z in row))
                total += in_force[k].item() * (log_sum - row[k])
        found = made.losses(network, batch, 0, progress).terms["rotation"].item()
        assert found == pytest.approx(total / (6 * in_force.sum().item()), rel=1e-4)


def losses_of_kinds(method, loss, margins, weights):
    """The instance and invariance losses of a batch, image by image in NumPy's float64."""
    network, batch, num = method.network, batch_of(6), 6
    with torch.no_grad():
        _, invariant, embedding = (t.double().numpy() for t in network(batch.images))
    rows = method.discrimination.bank.rows.double().numpy()
    noise = method.discrimination.draw_noise(batch.indices, 0).tolist()
    temperature, ratio = 0.2, len(noise) / num
    instance, invariance = [], []
    for i in range(num):
        positive = np.exp((embedding[i] @ rows[i] - margins[i]) / temperature)
        others = [(j, np.exp(embedding[i] @ rows[j] / temperature)) for j in noise]
        if loss == "infonce":
            total = positive + sum(value for j, value in others if j != i)
            instance.append(-np.log(positive / total))
        else:  # Z is 20
            value = -np.log(positive / 20 / (positive / 20 + ratio))
            instance.append(value - sum(np.log(ratio / (p / 20 + ratio)) for _, p in others))
        invariance.append(((invariant[i] - invariant[i].mean(axis=0)) ** 2).mean())
    return np.average(instance, weights=weights), np.average(invariance, weights=weights)


@pytest.mark.parametrize("loss", ["infonce", "nce"])
def test_kinds_take_margins_off_the_positive_and_weigh_images(loss):
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    settings = config(instance_loss=loss, balance_semantic=True, counts="labels", temperature=0.2)
    method = build_method(settings, 6, labels=labels)
    method.discrimination.bank.normalizer = torch.tensor(20.0)
    network = method.network.eval()
    margins = [0.5 * 5**-0.25] * 5 + [0.5]
    effective = (1 - 0.99) / (1 - 0.99**5), 1.0
    late = [effective[0]] * 5 + [effective[1]]
    for progress, weights in [(0.0, [1.0] * 6), (0.5, late)]:
        terms = method.losses(network, batch_of(6), 0, progress).terms
        instance, invariance = losses_of_kinds(method, loss, margins, weights)
        assert terms["instance"].item() == pytest.approx(instance, rel=1e-5)
        assert terms["invariance"].item() == pytest.approx(invariance, rel=1e-5)


def test_with_all_switches_off_nothing_is_different():
    method = build_method(config(), 6, p_upright=torch.rand(6, 4), labels=torch.zeros(6).long())
    assert isinstance(method.network.rotation_head, LinearHead)
    assert method.balance == PretextBalance(start=0.5)
    assert method.state_dict().keys() == {"bank"}
    assert method.before_epoch(0, 4) == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"balance_turns": True}, "--balance-turns needs to know what looks upright"),
        ({"balance_agnostic": True}, "--balance-agnostic needs agnostic scores"),
        ({"balance_semantic": True, "counts": "labels"}, "no labels to count"),
    ],
)
def test_what_nothing_is_known_of_cannot_be_balanced(settings, words):
    with pytest.raises(ConfigError, match=words):
        build_balance(config(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"balance_turns": True}, "need to know what has an up: give --upright"),
        ({"balance_agnostic": True, "method": "instance"}, "no rotation loss to balance"),
        ({"balance_semantic": True, "method": "rotnet"}, "no invariance or instance loss"),
        ({"num_clusters": 1}, "--num-clusters is 1"),
    ],
)
def test_a_configuration_knows_what_it_cannot_balance(settings, words):
    with pytest.raises(ConfigError, match=words):
        config(**settings).check()


def test_labels_are_counted_only_on_request():
    labels = torch.tensor([0, 0, 1])
    clusters = build_balance(config(balance_semantic=True), labels=labels).semantic
    assert clusters.balance is None
    by_labels = config(balance_semantic=True, counts="labels")
    counted = build_balance(by_labels, labels=labels).semantic
    assert counted.balance.counts.tolist() == [2, 1]


def test_groups_are_parted_by_the_threshold():
    agnostic = torch.tensor([0.1, 0.9, 0.5, 0.49])
    made = build_balance(config(balance_agnostic=True), agnostic=agnostic)
    assert made.rotation.group_of.tolist() == [0, 1, 1, 0]
    higher = build_balance(config(balance_agnostic=True, agnostic_threshold=0.8), agnostic=agnostic)
    assert higher.rotation.groups.counts.tolist() == [3, 1]


def test_a_single_group_is_balanced():
    made = build_balance(
        config(balance_turns=True, balance_agnostic=True),
        p_upright=torch.rand(3, 4),
        agnostic=torch.tensor([0.1, 0.2, 0.3]),
    )
    groups, indices = made.rotation.groups, torch.arange(3)
    assert groups.counts.tolist() == [3, 0]
    assert groups.margins.tolist() == [0, 0]
    assert groups.weights.tolist() == [1, 0]
    # So the turns keep the margins and weights that they have by themselves.
    assert torch.equal(made.rotation.margins(indices), made.rotation.turns.margins.expand(3, 4))
    assert torch.equal(made.rotation.weights(indices), made.rotation.turns.weights.expand(3, 4))


def test_the_instance_method_balances_kinds():
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    settings = config(method="instance", balance_semantic=True, counts="labels", temperature=0.2)
    method = build_method(settings, 6, labels=labels)
    network, batch = method.network.eval(), batch_of(6)
    with torch.no_grad():
        embedding = network(batch.images).double().numpy()
    rows = method.discrimination.bank.rows.double().numpy()
    noise = method.discrimination.draw_noise(batch.indices, 0).tolist()
    losses = []
    for i, margin in enumerate([0.5 * 5**-0.25] * 5 + [0.5]):
        positive = np.exp((embedding[i] @ rows[i] - margin) / 0.2)
        others = sum(np.exp(embedding[i] @ rows[j] / 0.2) for j in noise if j != i)
        losses.append(-np.log(positive / (positive + others)))
    late = [(1 - 0.99) / (1 - 0.99**5)] * 5 + [1.0]
    for progress, weights in [(0.0, [1.0] * 6), (0.5, late)]:
        found = method.losses(network, batch, 0, progress).terms["instance"].item()
        assert found == pytest.approx(np.average(losses, weights=weights), rel=1e-5)
