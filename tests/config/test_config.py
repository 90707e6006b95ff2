import dataclasses
import json

import pytest

from quarterturn.config import Config, DataConfig, OptimizerConfig
from quarterturn.errors import ConfigError
from quarterturn.presets import PRESETS
from quarterturn.presets.unlabelled import demo_folder

RECIPES = {**PRESETS, "demo": demo_folder}


@pytest.mark.parametrize("name", RECIPES)
def test_a_trip_through_json_changes_nothing(name, tmp_path):
    config = RECIPES[name]().with_settings(limit=100)
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"data": "x", "config": config.to_dict()}))
    assert Config.read(path) == config


def test_settings_are_frozen():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.run.epochs = 3


def test_every_setting_has_one_group():
    groups = [getattr(Config(), f.name) for f in dataclasses.fields(Config)]
    names = [f.name for group in groups for f in dataclasses.fields(group)]
    assert len(names) == len(set(names))  # `with_settings` and the flags have no group in them


def test_with_settings_finds_the_group_and_leaves_the_rest():
    before = Config()
    after = before.with_settings(epochs=3, seed=4, image_size=32, workers=0, backbone="convnet")
    assert (after.run.epochs, after.run.seed) == (3, 4)
    assert (after.data.image_size, after.machine.workers) == (32, 0)
    assert after.model.backbone == "convnet"
    assert after.method == before.method
    assert after.optimizer == before.optimizer
    assert before == Config()
    assert before.with_settings() == before


def test_with_settings_refuses_unknown_names():
    with pytest.raises(ConfigError, match=r"^unknown setting 'epoch'; did you mean 'epochs'\?$"):
        Config().with_settings(epoch=3)


def test_differences_name_both_values():
    a = Config().with_settings(epochs=10, crop_scale=(0.1, 1.0))
    b = Config().with_settings(epochs=20)
    assert a.differences(b) == ["crop_scale: (0.1, 1.0) -> (0.2, 1.0)", "epochs: 10 -> 20"]
    assert a.differences(a) == []


def test_from_dict_takes_defaults_for_what_is_left_out():
    assert Config.from_dict({}) == Config()
    config = Config.from_dict({"data": {"crop_scale": [0.5, 0.75]}})
    assert config.data == DataConfig(crop_scale=(0.5, 0.75))


def test_a_run_of_an_earlier_version_opens():
    """Its config.json lacks the settings that came later, whose defaults are what it did."""
    values = Config().to_dict()
    for group, name in [("data", "long_tail"), ("data", "long_tail_kind"), ("machine", "download")]:
        del values[group][name]
    for name in ("upright", "gamma", "fold_preset", "fold_epochs"):
        del values["method"][name]
    for name in ("noise_aware_from", "noise_aware_rate"):
        del values["optimizer"][name]
    del values["upright"], values["heads"], values["data"]["crop_fraction"]
    assert Config.from_dict(values) == Config()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"dta": {}}, "'dta'"),
        ({"run": {"epochs": 3, "epoch": 3}}, "'epoch'; did you mean 'epochs'"),
    ],
)
def test_from_dict_refuses_what_it_does_not_know(values, word):
    with pytest.raises(ConfigError, match=word):
        Config.from_dict(values)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_pass_a_check_that_can_fail(name):
    recipe = RECIPES[name]()
    recipe.check()
    broken = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, epochs=-1))
    with pytest.raises(ConfigError, match="--epochs is -1"):
        broken.check()


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        ("epochs", -1, 0),
        ("batch_size", 1, 2),
        ("checkpoint_every", -1, 0),
        ("log_every", 0, 1),
        ("limit", 7, 8),
        ("long_tail", 0.0, 0.01),
        ("long_tail", 1.1, 1.0),
        ("long_tail_kind", "pareto", "step"),
        ("holdout", 1.0, 0.0),
        ("holdout", -0.1, 0.99),
        ("max_bad_fraction", 1.1, 1.0),
        ("max_bad_fraction", -0.1, 0.0),
        ("image_size", 7, 8),
        ("eval_crop", 0.0, 0.01),
        ("eval_crop", 1.1, 1.0),
        ("crop_scale", (0.0, 1.0), (0.01, 1.0)),
        ("crop_scale", (0.5, 0.4), (0.5, 0.5)),
        ("crop_scale", (0.5, 1.1), (0.5, 1.0)),
        ("crop_ratio", (0.0, 1.0), (0.1, 1.0)),
        ("crop_ratio", (2.0, 1.0), (1.0, 1.0)),
        ("crop_padding", -1, 0),
        ("crop_padding", 128, 127),  # of images of 128 px: one pixel is always seen
        ("crop_fraction", -0.1, 0.01),
        ("crop_fraction", 1.1, 1.0),
        ("std", (0.2, 0.0, 0.2), (0.2, 0.1, 0.2)),
        ("num_features", 0, 1),
        ("test_crops", 5, 10),
        ("images_per_class", (20, 0), (20, 1)),
        ("method", "imported", "rotnet"),  # a method of weights that others have trained
        ("temperature", 0.0, 0.01),
        ("num_noise", 0, 1),
        ("bank_momentum", 1.0, 0.99),
        ("bank_momentum", -0.1, 0.0),
        ("learning_rate", 0.0, 1e-9),
        ("warmup", 1.0, 0.5),
        ("warmup", -0.1, 0.0),
        ("workers", -1, 0),
        ("folds", 1, 2),
        ("validation", 0.0, 0.01),
        ("validation", 0.6, 0.5),
        ("patience", 0.0, 0.01),
        ("patience", 1.1, 1.0),
        ("view_crops", 2, 5),
        ("fold_epochs", 0, 1),
        ("gamma", 0.0, 0.5),
        ("noise_aware_from", -0.1, 0.0),
        ("noise_aware_from", 1.1, 1.0),
        ("noise_aware_rate", 0.0, 0.1),
        ("method", "rotnett", "rotnet"),
        ("instance_loss", "info-nce", "nce"),
        ("noise", "per_image", "per-image"),
        ("counts", "label", "labels"),
        ("optimizer", "adam", "adamw"),
        ("schedule", "steps", "step"),
        ("precision", "fp16", "32-true"),
        ("head", "mlp", "multilayer"),
        ("loss", "softmax", "ldam"),
        ("reweight", "dwr", "drw"),
        ("resample", "blanced", "balanced"),
        ("protocol", "best", "paper"),
    ],
)
def test_check_names_the_flag_and_the_value(setting, bad, good):
    flag = "--" + setting.replace("_", "-")
    with pytest.raises(ConfigError) as caught:
        Config().with_settings(**{setting: bad}).check()
    assert str(caught.value).startswith(f"{flag} is {bad}; expected ")
    Config().with_settings(**{setting: good}).check()


def test_a_misspelt_word_is_told_what_there_is():
    with pytest.raises(ConfigError) as caught:
        Config().with_settings(reweight="dwr").check()
    assert str(caught.value) == "--reweight is dwr; expected none, always or drw"


def test_deferred_weights_by_the_number_of_an_epoch():
    late = Config().with_settings(reweight_from_epoch=3)
    assert late.balance.start(12) == 0.25
    untrained = Config().with_settings(reweight_from_epoch=0, epochs=0)
    untrained.check()
    assert untrained.balance.start(untrained.run.epochs) == 0


def test_one_way_to_crop():
    settings = Config().with_settings(crop_fraction=0.875, crop_padding=4)
    with pytest.raises(ConfigError, match=r"^--crop-fraction is 0\.875; expected 0 with"):
        settings.check()


def test_features_that_are_extracted_once_are_of_one_crop():
    settings = Config().with_settings(augment=False, test_crops=10)
    with pytest.raises(ConfigError, match=r"^--test-crops is 10; expected 1 where features are"):
        settings.check()


def test_a_method_that_turns_nothing_takes_no_probabilities():
    for asked in ("auto", "upright.npz"):
        with pytest.raises(ConfigError, match=f"^--upright is {asked}; expected none"):
            Config().with_settings(method="instance", upright=asked).check()
        for method in ("decoupling", "rotnet"):
            Config().with_settings(method=method, upright=asked).check()


def test_steps_have_milestones_for_the_late_phase():
    with pytest.raises(ConfigError, match=r"^--noise-aware-rate 0\.1 is for a cosine schedule"):
        Config().with_settings(schedule="step", noise_aware_rate=0.1).check()


@pytest.mark.parametrize(
    ("milestones", "factors", "flag"),
    [
        ((0.5, 0.4), (1.0, 0.1, 0.01), "--milestones"),
        ((0.0,), (1.0, 0.1), "--milestones"),
        ((1.0,), (1.0, 0.1), "--milestones"),
        ((0.5,), (1.0,), "--factors"),
        ((), (1.0, 0.1), "--factors"),
    ],
)
def test_check_wants_one_more_factor_than_milestones(milestones, factors, flag):
    optimizer = OptimizerConfig(schedule="step", milestones=milestones, factors=factors)
    with pytest.raises(ConfigError, match=f"^{flag} is"):
        Config(optimizer=optimizer).check()
