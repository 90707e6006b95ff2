import dataclasses
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from quarterturn.config import DataConfig, NoiseAwareConfig, OptimizerConfig
from quarterturn.config.validation import field_types
from quarterturn.errors import ConfigError
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.imported_options import ImportedOptions
from quarterturn.methods.instance_options import InstanceOptions
from quarterturn.methods.registry import METHODS
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.presets import PRESETS, preset
from quarterturn.presets.unlabelled import demo_folder

RECIPES = {**PRESETS, "demo": demo_folder}


@pytest.mark.parametrize("name", RECIPES)
def test_a_trip_through_json_changes_nothing(name, tmp_path):
    config = RECIPES[name]().with_settings(limit=100)
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"format": FORMAT, "config": config.to_dict()}))
    assert Config.read(path) == config


def test_settings_are_frozen():
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.run.epochs = 3


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_has_one_group(method):
    config = Config(method=METHODS[method]())
    groups = [getattr(config, f.name) for f in dataclasses.fields(Config)]
    names = [f.name for group in groups for f in dataclasses.fields(group)]
    assert len(names) == len(set(names))  # `with_settings` and the flags have no group in them
    assert config.settings().keys() == {"method", *names}


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


def having(setting: str) -> Config:
    """A configuration that has a setting: of a method that does, where no group does."""
    if setting in Config().settings():
        return Config()
    return Config(method=next(o for o in METHODS.values() if setting in field_types(o))())


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
        ("workers", "many", "auto"),
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
    config = having(setting)
    with pytest.raises(ConfigError) as caught:
        config.with_settings(**{setting: bad}).check()
    assert str(caught.value).startswith(f"{flag} is {bad}; expected ")
    config.with_settings(**{setting: good}).check()


def test_a_misspelt_word_lists_the_choices():
    with pytest.raises(ConfigError) as caught:
        having("reweight").with_settings(reweight="dwr").check()
    assert str(caught.value) == "--reweight is dwr; expected none, always or drw"


def test_deferred_weights_by_the_number_of_an_epoch():
    late = Config().with_settings(reweight_from_epoch=3)
    assert late.balance.start(12) == 0.25
    untrained = Config().with_settings(reweight_from_epoch=0, epochs=0)
    untrained.check()
    assert untrained.balance.start(untrained.run.epochs) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop_fraction": 0.875, "crop_padding": 4}, "--crop-fraction is 0.875; expected 0 with"),
        ({"crop_pixels": (0.5, 2.0), "crop_padding": 4}, "expected none with --crop-padding: one"),
        ({"fixed_crop": 50, "crop_fraction": 0.5}, "--fixed-crop is 50; expected 0 with --crop-fr"),
        ({"fixed_crop": 50, "crop_pixels": (0.5, 2.0)}, "expected 0 with --crop-pixels: one way"),
    ],
)
def test_one_way_to_crop(settings, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        Config().with_settings(**settings).check()


def test_features_that_are_extracted_once_are_of_one_crop():
    settings = Config().with_settings(method="probe-heads", augment=False, test_crops=10)
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


class TestMethods:
    def test_a_new_method_keeps_what_it_shares(self):
        before = Config().with_settings(temperature=0.3, rotation_weight=2.0, num_noise=7)
        instance = before.with_settings(method="instance")
        assert instance.method == InstanceOptions(temperature=0.3, num_noise=7)
        assert before.with_settings(method="rotnet").method == RotNetOptions(rotation_weight=2.0)

    def test_settings_beside_a_method_are_its_own(self):
        config = Config().with_settings(loss="ldam", method="classifier", epochs=3)
        assert config.method == ClassifierOptions(loss="ldam")
        assert config.run.epochs == 3

    def test_an_option_of_other_methods_names_them(self):
        owners = "decoupling, multiview, instance and simclr"
        with pytest.raises(ConfigError, match=f"^--temperature is an option of {owners}, not of"):
            Config().with_settings(method="rotnet", temperature=0.3)

    def test_an_unknown_method_names_the_closest(self):
        with pytest.raises(ConfigError, match="'rotnett'; did you mean 'rotnet'"):
            Config().with_settings(method="rotnett")

    def test_options_of_another_method_are_no_mistake_of_the_user(self):
        assert Config().method_as(DecouplingOptions) == DecouplingOptions()
        with pytest.raises(TypeError, match="decoupling; expected RotNetOptions"):
            Config().method_as(RotNetOptions)

    def test_differences_are_of_what_both_methods_have(self):
        before = Config().with_settings(temperature=0.3)
        assert before.differences(Config().with_settings(method="instance")) == [
            "method: decoupling -> instance",
            "temperature: 0.3 -> 0.2",
        ]

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"method": "instance", "balance_turns": True}, "instance has no rotation loss"),
            ({"method": "rotnet", "balance_semantic": True}, "rotnet has no invariance or"),
            ({"balance_agnostic": True}, "need to know what has an up"),
        ],
    )
    def test_what_a_method_has_not_cannot_be_balanced(self, settings, words):
        with pytest.raises(ConfigError, match=words):
            Config().with_settings(**settings).check()

    @pytest.mark.parametrize("name", METHODS)
    def test_options_state_what_the_method_is(self, name):
        options = METHODS[name]
        assert options.name == name
        assert options.title
        assert options.meaning
        module = options.module and import_module(options.module)
        assert module is None or module.build_network


class TestFormerSettings:
    """Files as the code before this form of the settings wrote them, one of each command."""

    FOLDER = Path(__file__).parent / "former"

    def read(self, name: str) -> Config:
        return Config.read(self.FOLDER / f"{name}.json")

    def test_of_pretrain(self):
        expected = preset("digits").with_settings(epochs=6, seed=3, precision="32-true")
        assert self.read("pretrain") == expected

    def test_of_finetune(self):
        expected = preset("digits-classifier").with_settings(epochs=2, precision="32-true")
        assert self.read("finetune") == expected

    def test_of_upright(self):
        config = self.read("upright")
        assert config.method == RotNetOptions()
        assert (config.upright.folds, config.run.epochs) == (2, 2)

    def test_of_import(self):
        config = self.read("import")
        assert config.method == ImportedOptions()
        assert (config.model.backbone, config.data.image_size) == ("resnet18", 224)

    def test_lacking_what_came_later(self):
        stored = json.loads((self.FOLDER / "pretrain.json").read_text())["config"]
        for group, names in {
            "data": ["long_tail", "long_tail_kind", "crop_fraction"],
            "machine": ["download"],
            "method": ["upright", "gamma", "fold_preset", "fold_epochs"],
            "optimizer": ["noise_aware_from", "noise_aware_rate"],
        }.items():
            for name in names:
                del stored[group][name]
        del stored["upright"], stored["heads"]
        assert Config.from_dict(stored, format=1) == self.read("pretrain")

    def test_the_noise_aware_phase_has_a_group_of_its_own(self):
        stored = json.loads((self.FOLDER / "pretrain.json").read_text())["config"]
        stored["method"] |= {"upright": "runs/u/upright.npz", "gamma": 3.0}
        config = Config.from_dict(stored, format=1)
        assert config.noise_aware == NoiseAwareConfig(upright="runs/u/upright.npz", gamma=3.0)

    def test_with_a_setting_of_no_version(self):
        with pytest.raises(ConfigError, match="'temprature'; did you mean 'temperature'"):
            Config.from_dict({"method": {"temprature": 0.3}}, format=1)

    def test_of_a_newer_version(self):
        with pytest.raises(ConfigError, match=f"of format {FORMAT + 1}, and this version reads"):
            Config.from_dict({}, format=FORMAT + 1)

    @pytest.mark.parametrize("format", [1, 2, 3])
    @pytest.mark.parametrize(("switch", "logger"), [(True, "tensorboard"), (False, "none")])
    def test_tensorboard_was_a_switch(self, format, switch, logger):
        config = Config.from_dict({"machine": {"tensorboard": switch}}, format=format)
        assert config.machine.logger == logger

    @pytest.mark.parametrize("format", [1, 2])
    def test_what_is_trained_was_an_option_of_the_classifier(self, format):
        former = {"method": {"name": "classifier", "trained": "layer3"}}
        if format == 1:
            former = {"method": {"method": "classifier"}, "classifier": {"trained": "layer3"}}
        config = Config.from_dict(former, format=format)
        assert (config.method.name, config.model.trained) == ("classifier", "layer3")
