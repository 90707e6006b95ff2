import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from quarterturn.data.batches import TrainingBatches
from quarterturn.data.view_batches import ViewBatches
from quarterturn.engine.loop import Training, training_step
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.schedule import learning_rate
from quarterturn.engine.telemetry import Telemetry
from quarterturn.errors import ConfigError
from quarterturn.methods.build import build_method, build_network
from quarterturn.methods.configuration import Config
from quarterturn.methods.multiview_options import MultiviewOptions
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.presets import (
    PRESETS,
    classifier_preset_with_start,
    default_classifier_preset,
    default_preset,
    default_rotnet_preset,
    fold_recipe,
    preset,
    recipe_for,
    seen_as_by,
    upright_recipe,
)
from quarterturn.presets.unlabelled import demo_folder

RECIPES = {**PRESETS, "demo": demo_folder}


@pytest.mark.parametrize("name", RECIPES)
def test_docstring_names_paper_command_and_expectation(name):
    text = " ".join(RECIPES[name].__doc__.split())
    assert "Paper: " in text
    assert "Command: ``quarterturn " in text
    expected = text.split("Expected: ")[1]
    assert "not run" in expected or "docs/results.md" in expected


def one_step(config: Config, images, precision: str = "32-true"):
    """Train one step on the CPU.

    Returns:
        (terms, network's parameters before, training, indices of the batch).
    """
    runtime = Runtime("cpu", precision)
    if config.method.reads_labels:
        counts = torch.from_numpy(np.bincount(images.labels))
        method = build_method(config, len(images), class_counts=counts)
    else:
        start = build_network(config) if config.method.needs_start else None
        method = build_method(config, len(images), start=start)
    shared = {"batch_size": config.run.batch_size, "seed": config.run.seed}
    if method.views is None:
        batches = TrainingBatches(images, config.data, with_labels=method.reads_labels, **shared)
    else:
        batches = ViewBatches(images, config.data, law=method.views, **shared)
    telemetry = Telemetry(None, total_steps=1, steps_per_epoch=1)
    optimizer = build_optimizer(method.network, config.optimizer)
    training = Training(
        method, batches, optimizer, config.optimizer, runtime, telemetry, config.run.epochs
    )
    before = [p.detach().clone() for p in method.network.parameters()]
    batch = next(iter(batches.epoch(0)))
    terms = training_step(training, method.network.train(), batch)
    return terms, before, training, batch.indices


STORED = {
    "digits": 8,
    "folder": 150,
    "folder-distill": 150,
    "folder-rotnet": 80,
    "demo": 80,
    "imagenet-alexnet": 224,
    "imagenet-rotnet": 224,
    "cifar10-nin": 32,
    "cifar10-resnet18": 32,
    "cifar10-lt-resnet18": 32,
}
"""Sides of the images that are cropped."""
LARGE = {"folder": 4, "folder-distill": 4, "imagenet-rotnet": 4}
"""Images in a batch of those whose step takes long."""


FITTED = ["folder-rotation-head"]
"""Heads that are fitted at once, in no steps; see `tests.orientation.test_fitted_heads`."""
CLASSIFIERS = [name for name, make in RECIPES.items() if make().method.reads_labels]
ONE_LABEL = [name for name in CLASSIFIERS if not name.startswith("voc07")]
"""The others have steps of their own in `tests.presets.test_voc07` and `tests.detection`."""


@pytest.mark.parametrize("name", ONE_LABEL)
def test_one_training_step_of_a_classifier(name, random_images):
    config = preset(name).with_settings(batch_size=8)
    terms, before, training, _ = one_step(config, random_images(12, 32))
    assert set(terms) == {"loss", "classification"}
    assert math.isfinite(float(terms["loss"]))
    after = list(training.method.network.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in [*CLASSIFIERS, *FITTED]])
def test_one_training_step(name, random_images):
    config = RECIPES[name]().with_settings(batch_size=LARGE.get(name, 8))
    terms, before, training, indices = one_step(config, random_images(12, STORED[name]))

    is_rotnet, is_taught = name.endswith("-rotnet"), name.endswith("-distill")
    assert (config.method.name == "rotnet") == is_rotnet
    expected = {"rotation"} if is_rotnet else {"rotation", "invariance", "instance"}
    expected = {"rotation", "teacher"} if is_taught else expected
    expected = {"rotation", "instance"} if config.method.compares_views else expected
    assert set(terms) == {"loss", "rotation_accuracy"} | expected
    values = {name: float(value) for name, value in terms.items()}
    assert all(math.isfinite(value) for value in values.values())
    sum_of_terms = sum(training.method.term_weights[term] * values[term] for term in expected)
    assert values["loss"] == pytest.approx(sum_of_terms, rel=1e-6)
    assert 0.3 < values["rotation"] < 3  # about log 4 before anything is learned

    names = [n for n, _ in training.method.network.named_parameters()]
    after = list(training.method.network.parameters())
    same = [n for n, a, b in zip(names, before, after, strict=True) if torch.equal(a, b)]
    assert same == []
    assert all(bool(p.isfinite().all()) for p in after)

    if is_rotnet or is_taught or config.method.compares_views:
        return
    rows = training.method.discrimination.bank.rows
    fresh = build_method(config.with_settings(backbone="convnet", image_size=8), 12)
    moved = (rows != fresh.discrimination.bank.rows).any(dim=1)
    assert sorted(indices.tolist()) == moved.nonzero().flatten().tolist()


@pytest.mark.parametrize("method", ["rotnet", "instance"])
def test_one_training_step_of_the_other_methods(method, random_images):
    config = preset("digits").with_settings(batch_size=8, method=method)
    terms, before, training, _ = one_step(config, random_images(12, 8))
    own = {"rotnet": {"rotation", "rotation_accuracy"}, "instance": {"instance"}}
    assert set(terms) == {"loss"} | own[method]
    assert math.isfinite(float(terms["loss"]))
    after = list(training.method.network.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("instance_loss", "noise"), [("nce", "per-image"), ("infonce", "shared")])
def test_mixed_precision_is_close_to_float32(instance_loss, noise, random_images):
    config = preset("digits").with_settings(
        batch_size=12, instance_loss=instance_loss, noise=noise, num_noise=64
    )
    images = random_images(24, 8)
    exact, *_ = one_step(config, images)
    mixed, *_ = one_step(config, images, "bf16-mixed")
    for name, value in exact.items():
        assert mixed[name].dtype == torch.float32
        assert float(mixed[name]) == pytest.approx(float(value), rel=0.02)


def test_term_weights_multiply_the_terms(random_images):
    weights = {"rotation_weight": 2.0, "invariance_weight": 0.5, "instance_weight": 0.0}
    config = preset("digits").with_settings(batch_size=8, **weights)
    terms, *_ = one_step(config, random_images(12, 8))
    expected = 2 * float(terms["rotation"]) + 0.5 * float(terms["invariance"])
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["decoupling", "rotnet", "instance"])
def test_initial_weights_depend_only_on_the_seed(method):
    config = preset("digits").with_settings(method=method)
    before = torch.random.get_rng_state()
    first = build_network(config).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    again = build_network(config).state_dict()
    other = build_network(config.with_settings(seed=1)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if "head" in name or name.endswith("conv1.0.weight")]
    assert len(drawn) >= 3
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_the_papers_recipe():
    config = preset("imagenet-alexnet")
    assert config.model.backbone == "alexnet"
    assert config.method.embedding_dim == 128
    assert config.data.image_size == 224
    assert config.data.flip
    assert config.data.mean == (0.485, 0.456, 0.406)
    assert config.data.std == (0.229, 0.224, 0.225)
    m = config.method
    assert (m.name, m.instance_loss, m.noise) == ("decoupling", "nce", "per-image")
    assert (m.num_noise, m.temperature, m.bank_momentum) == (4096, 0.07, 0.5)
    assert (m.rotation_weight, m.invariance_weight, m.instance_weight) == (1, 1, 1)
    o = config.optimizer
    assert (o.optimizer, o.momentum, o.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (config.run.epochs, config.run.batch_size) == (245, 192)
    epochs = [Fraction(x).limit_denominator(1000) * 245 for x in o.milestones]
    assert epochs == [90, 130, 190, 210, 230]


def test_small_budgets_learn_from_views():
    full = 2 + 4 * 0.5**2  # full views that an image costs
    for name in ("folder", "cifar10-resnet18", "cifar10-lt-resnet18"):
        config = preset(name)
        assert config.method == MultiviewOptions()
        assert config.run.batch_size * full == 126
    assert preset("folder-classifier").run.batch_size == 64


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.1),
        (59, 0.1),
        (60, 0.02),
        (119, 0.02),
        (120, 0.004),
        (159, 0.004),
        (160, 8e-4),
        (199, 8e-4),
    ],
)
def test_rotnets_rates_on_cifar(epoch, rate):
    settings = preset("cifar10-nin").optimizer
    assert learning_rate(epoch, 200, settings) == pytest.approx(rate, rel=1e-12)


def test_rotnets_recipe_on_cifar():
    config = preset("cifar10-nin")
    o, d = config.optimizer, config.data
    assert (config.model.backbone, config.run.epochs, config.run.batch_size) == ("nin", 200, 128)
    assert (o.optimizer, o.momentum, o.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (d.image_size, d.crop_padding, d.flip, d.eval_crop) == (32, 4, True, 1.0)
    assert [255 * x for x in d.mean] == pytest.approx([125.3, 123.0, 113.9])
    assert [255 * x for x in d.std] == pytest.approx([63.0, 62.1, 66.7])


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.01),
        (14, 0.01),
        (15, 1e-3),
        (29, 1e-3),
        (30, 1e-4),
        (44, 1e-4),
        (45, 1e-5),
        (49, 1e-5),
    ],
)
def test_the_papers_rates_on_folds(epoch, rate):
    settings = preset("imagenet-rotnet").optimizer
    assert learning_rate(epoch, 50, settings) == pytest.approx(rate, rel=1e-12)


def test_the_papers_recipe_on_folds():
    config = preset("imagenet-rotnet")
    o, d, u = config.optimizer, config.data, config.upright
    assert (config.method.name, config.model.backbone) == ("rotnet", "alexnet")
    assert (config.run.epochs, config.run.batch_size) == (50, 192)
    assert (o.optimizer, o.momentum, o.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (d.image_size, d.crop_scale, d.crop_padding, d.flip) == (224, (0.08, 1.0), 0, True)
    assert d.eval_crop == 0.875
    assert (u.folds, u.patience, u.view_crops) == (5, 1.0, 1)  # to the end, by the centre crop


class TestFoldRecipe:
    @pytest.mark.parametrize(
        ("name", "folds"),
        [
            ("imagenet-alexnet", "imagenet-rotnet"),
            ("folder", "folder-rotnet"),
            ("folder-distill", "folder-rotation-head"),
        ],
    )
    def test_is_the_preset_that_upright_would_take(self, name, folds):
        assert fold_recipe(preset(name)) == preset(folds)

    @pytest.mark.parametrize(
        ("name", "epochs"), [("digits", 5), ("cifar10-nin", 41), ("cifar10-resnet18", 41)]
    )
    def test_is_else_the_runs_own_as_rotnet(self, name, epochs):
        config = preset(name)
        found = fold_recipe(config)
        assert found.run == replace(config.run, epochs=epochs)  # 50 of 245
        assert found.method == RotNetOptions()
        assert (found.data, found.model) == (config.data, config.model)
        assert found.optimizer == config.optimizer

    @pytest.mark.parametrize("name", ["digits", "folder"])
    def test_images_folds_seed_and_machine_are_the_runs(self, name):
        asked = {
            "limit": 77,
            "long_tail": 0.1,
            "long_tail_kind": "step",
            "max_bad_fraction": 0.2,
            "verify": True,
            "folds": 3,
            "validation": 0.2,
            "patience": 0.5,
            "view_crops": 1,
            "seed": 9,
            "device": "cpu",
            "workers": 0,
        }
        config = preset(name).with_settings(**asked, upright="auto", gamma=3.0)
        found = fold_recipe(config)
        assert found == fold_recipe(preset(name)).with_settings(**asked)
        assert found.noise_aware.upright == "none"  # or it would go on for ever

    def test_epochs_and_preset_can_be_asked_for(self):
        config = preset("digits").with_settings(fold_epochs=2)
        assert fold_recipe(config).run.epochs == 2
        other = fold_recipe(config.with_settings(fold_preset="cifar10-nin"))
        assert (other.model.backbone, other.run.epochs) == ("nin", 2)
        assert other.data == preset("cifar10-nin").data
        short = preset("digits").with_settings(epochs=1)
        assert fold_recipe(short).run.epochs == 1

    @pytest.mark.parametrize("name", ["digits", "cifar10-resnet18", "cifar10-nin"])
    def test_learning_from_weights_fits_heads_on_them(self, name):
        config = preset(name).with_settings(method="distill")
        found = fold_recipe(config)
        assert found.method == RotationHeadOptions()
        assert (found.model, found.data.image_size) == (config.model, config.data.image_size)
        networks = fold_recipe(config.with_settings(fold_preset="folder-distill"))
        assert networks.method == RotNetOptions()

    def test_has_no_late_phase(self):
        config = preset("digits").with_settings(noise_aware_rate=0.1)
        assert fold_recipe(config) == fold_recipe(preset("digits"))


def test_the_long_tailed_preset_differs_only_by_the_cut():
    changed = preset("cifar10-resnet18").differences(preset("cifar10-lt-resnet18"))
    assert changed == ["long_tail: None -> 0.01"]


def test_presets_by_name():
    assert list(PRESETS) == [
        "digits",
        "folder",
        "folder-distill",
        "folder-rotnet",
        "folder-rotation-head",
        "imagenet-alexnet",
        "imagenet-rotnet",
        "cifar10-nin",
        "cifar10-resnet18",
        "cifar10-lt-resnet18",
        "digits-classifier",
        "folder-classifier",
        "pretrained-classifier",
        "cifar10-classifier",
        "small-pretrained-classifier",
        "cifar10-lt-ldam",
        "voc07-fc8",
        "voc07-fc6-8",
        "voc07-all",
        "voc07-pool5",
        "voc07-deepcluster",
        "voc07-fast-rcnn",
        "voc07-faster-rcnn",
    ]
    assert preset("folder") == PRESETS["folder"]()
    with pytest.raises(ConfigError, match=r"'demo'; there are digits, folder, folder-distill, fol"):
        preset("demo")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits"),
        ("photos", "folder"),
        ("./digits", "folder"),
        ("x.npz", "folder"),
        ("cifar10:sets", "cifar10-resnet18"),
        ("cifar100:.", "cifar10-resnet18"),
        ("imagenet:/data", "imagenet-alexnet"),
        ("stl10-unlabeled:x", "folder"),
        ("cifar10", "folder"),
    ],
)
def test_default_preset_follows_the_data(data, name):
    assert default_preset(data) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits"),
        ("photos", "folder-rotnet"),
        ("x.npz", "folder-rotnet"),
        ("cifar10:sets", "cifar10-resnet18"),
        ("imagenet:/data", "imagenet-rotnet"),
    ],
)
def test_default_preset_of_folds_follows_the_data(data, name):
    assert default_rotnet_preset(data) == name


LDAM_RATES = {
    0: 0.02,
    1: 0.04,
    2: 0.06,
    3: 0.08,
    4: 0.1,
    5: 0.1,
    159: 0.1,
    160: 0.001,
    179: 0.001,
    180: 1e-5,
    199: 1e-5,
}


@pytest.mark.parametrize(("epoch", "rate"), LDAM_RATES.items())
def test_ldams_rates_on_cifar(epoch, rate):
    settings = preset("cifar10-lt-ldam").optimizer
    for within in (0.0, 0.5, 0.99):
        found = learning_rate(epoch + within, 200, settings)
        assert found == pytest.approx(rate, rel=1e-12)


def test_ldams_recipe_on_cifar():
    config = preset("cifar10-lt-ldam")
    o, d, c, b = config.optimizer, config.data, config.method, config.balance
    assert config.model.backbone == "resnet32"
    assert (config.run.epochs, config.run.batch_size) == (200, 128)
    assert (o.optimizer, o.momentum, o.nesterov, o.weight_decay) == ("sgd", 0.9, False, 2e-4)
    assert (d.image_size, d.crop_padding, d.flip, d.eval_crop) == (32, 4, True, 1.0)
    assert d.mean == (0.4914, 0.4822, 0.4465)
    assert d.std == (0.2023, 0.1994, 0.2010)
    assert (d.long_tail, d.long_tail_kind) == (0.01, "exponential")
    assert (c.loss, c.reweight, c.resample) == ("ldam", "drw", "none")
    assert config.model.trained == "whole"
    assert (b.max_margin, b.scale, b.beta, b.start(200)) == (0.5, 30.0, 0.9999, 160 / 200)
    assert config.run.diagnostics_every == 10
    plain = preset("cifar10-classifier").differences(config)
    assert {change.split(":")[0] for change in plain} == {"long_tail", "loss", "reweight"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits-classifier"),
        ("photos", "folder-classifier"),
        ("cifar100:x", "cifar10-classifier"),
        ("imagenet:x", "folder-classifier"),
    ],
)
def test_default_preset_of_a_classifier(data, name):
    assert default_classifier_preset(data) == name


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ("cifar10-resnet18", "small-pretrained-classifier"),
        ("folder", "pretrained-classifier"),
    ],
)
def test_preset_of_a_classifier_on_trained_weights(start, name):
    assert classifier_preset_with_start(preset(start)) == name
    assert preset(name).method.classifier_init == "solved"


def test_a_recipe_takes_backbone_and_view_from_a_run():
    pretrained = preset("cifar10-nin").with_settings(crop_padding=2, epochs=3)
    recipe = seen_as_by(pretrained, preset("cifar10-lt-ldam"))
    changed = preset("cifar10-lt-ldam").differences(recipe)
    assert {change.split(":")[0] for change in changed} == {"backbone", "mean", "std"}
    assert recipe.data.mean == pretrained.data.mean


@pytest.mark.parametrize(("side", "shown"), [(32, 32), (95, 95), (96, 128), (224, 128)])
def test_recipes_on_weights_show_small_networks_their_own_size(side, shown):
    start = preset("cifar10-resnet18").with_settings(image_size=side)
    assert recipe_for("cifar10:x", None, "distill", start).data.image_size == shown
    assert upright_recipe("cifar10:x", None, start).data.image_size == shown
    assert recipe_for("cifar10:x", None, "rotnet", start).data.image_size == side


def test_what_may_not_be_mirrored_is_not_mirrored_later():
    recipe = preset("pretrained-classifier")
    assert recipe.data.flip
    assert not seen_as_by(preset("digits"), recipe).data.flip
    assert seen_as_by(preset("folder"), recipe).data.flip
