import json
from dataclasses import replace
from pathlib import Path

import pytest

from quarterturn.cli import main
from quarterturn.cli.commands import COMMANDS
from quarterturn.cli.parsing import parse
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.presets import PRESETS, preset, seen_as_by
from quarterturn.runs import Run


def config_of(*words: str) -> Config:
    """The settings that a training is called with."""
    config: Config = parse(list(words)).keywords["config"]
    return config


@pytest.fixture
def run(tmp_path):
    """A run directory that holds nothing but its configuration, and that configuration."""
    config = preset("digits").with_settings(epochs=7, temperature=0.3, crop_scale=(0.5, 0.9))
    stored = {"data": "digits", "fingerprint": "0", "format": FORMAT, "config": config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    return tmp_path, config


@pytest.mark.parametrize(
    ("words", "data", "name"),
    [
        ("digits", "digits", "digits"),
        ("photos", "photos", "folder"),
        ("set.npz", "set.npz", "folder"),
        ("photos --preset imagenet-alexnet", "photos", "imagenet-alexnet"),
        ("--preset digits photos", "photos", "digits"),
        ("photos --preset=digits", "photos", "digits"),
        ("digits --preset folder", "digits", "folder"),
    ],
)
def test_defaults_are_the_presets(words, data, name):
    call = parse(["pretrain", *words.split()])
    assert call.function == "quarterturn.pretraining.pretrain:pretrain"
    assert call.arguments == (data,)
    own = {"out": None, "overwrite": False, "start": None, "pretrained": False}
    own |= {"cache": None, "dry_run": False, "seeds": 1}
    own["budget"] = None if "--preset" in words else "auto"
    assert call.keywords == {"config": preset(name), **own}


OVERRIDES = {
    "--epochs 3": {"epochs": 3},
    "--batch-size 32 --seed 5": {"batch_size": 32, "seed": 5},
    "--backbone convnet": {"backbone": "convnet"},
    "--method rotnet --rotation-weight 2": {"method": "rotnet", "rotation_weight": 2.0},
    "--method instance --temperature=0.5": {"method": "instance", "temperature": 0.5},
    "--method decoupling --instance-loss nce": {"method": "decoupling", "instance_loss": "nce"},
    "--crop-scale 0.5 0.75": {"crop_scale": (0.5, 0.75)},
    "--flip": {"flip": True},
    "--no-flip": {"flip": False},
    "--limit 100": {"limit": 100},
    "--long-tail 0.01": {"long_tail": 0.01},
    "--long-tail 0.1 --long-tail-kind step": {"long_tail": 0.1, "long_tail_kind": "step"},
    "--schedule step --milestones 0.5 0.8 --factors 1 0.1 0.01": {
        "schedule": "step",
        "milestones": (0.5, 0.8),
        "factors": (1.0, 0.1, 0.01),
    },
    "--workers 0 --device cpu": {"workers": 0, "device": "cpu"},
    "--download": {"download": True},
    "--upright auto --gamma 3 --fold-preset digits --fold-epochs 4 --folds 3": {
        "upright": "auto",
        "gamma": 3.0,
        "fold_preset": "digits",
        "fold_epochs": 4,
        "folds": 3,
    },
    "--upright runs/x-upright-1 --noise-aware-from 0.5 --noise-aware-rate 0.1": {
        "upright": "runs/x-upright-1",
        "noise_aware_from": 0.5,
        "noise_aware_rate": 0.1,
    },
}


@pytest.mark.parametrize("words", OVERRIDES)
def test_options_change_only_what_they_name(words):
    for data in ("digits", "photos"):
        base = preset("digits" if data == "digits" else "folder")
        expected = base.with_settings(**OVERRIDES[words])
        assert config_of("pretrain", data, *words.split()) == expected


def test_options_may_stand_before_the_data():
    call = parse(["pretrain", "--epochs", "3", "--temperature", "0.3", "--out", "here", "digits"])
    assert call.arguments == ("digits",)
    assert call.keywords["config"] == preset("digits").with_settings(epochs=3, temperature=0.3)
    assert call.keywords["out"] == Path("here")


def test_an_option_of_another_method_names_whose_it_is():
    words = "pretrain digits --method rotnet --temperature 0.3"
    with pytest.raises(ConfigError, match=r"^--temperature is an option of decoupling, multiview,"):
        parse(words.split())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("digits", "digits"),
        ("photos", "folder-rotnet"),
        ("cifar10:sets", "cifar10-resnet18"),
        ("photos --preset imagenet-rotnet", "imagenet-rotnet"),
        ("--preset=digits photos", "digits"),
    ],
)
def test_upright_trains_rotnet_by_a_preset_of_its_own(words, name):
    call = parse(["upright", *words.split()])
    assert call.function == "quarterturn.orientation.upright:upright"
    assert call.keywords["config"] == replace(preset(name), method=RotNetOptions())
    assert call.keywords["format"] == "npz"


def test_options_of_upright():
    words = "--folds 3 --validation 0.2 --patience 1 --view-crops 1 --epochs 7 --limit 50"
    call = parse(["upright", "digits", *words.split(), "--format", "dat", "--out", "here"])
    expected = preset("digits").with_settings(
        method="rotnet", folds=3, validation=0.2, patience=1.0, view_crops=1, epochs=7, limit=50
    )
    assert call.keywords["config"] == expected
    assert (call.keywords["format"], call.keywords["out"]) == ("dat", Path("here"))


class TestResume:
    def test_takes_the_settings_of_the_run(self, run):
        path, config = run
        for words in (["--resume", str(path)], [f"--resume={path}"]):
            call = parse(["pretrain", *words])
            assert call.function == "quarterturn.pretraining.pretrain:resume"
            assert call.arguments == (path,)
            assert call.keywords == {"config": config, "data": None}

    def test_passes_on_what_else_is_given(self, run):
        path, config = run
        words = ["pretrain", "--resume", str(path), "--workers", "0"]
        assert config_of(*words) == config.with_settings(workers=0)

    def test_of_upright_takes_its_format(self, run):
        call = parse(["upright", "--resume", str(run[0]), "--format", "dat"])
        assert call.function == "quarterturn.orientation.upright:resume_upright"
        assert call.keywords == {"config": run[1], "data": None, "format": "dat"}

    @pytest.mark.parametrize("command", ["pretrain", "upright", "finetune"])
    def test_takes_images_that_have_moved(self, run, command, capsys):
        words = [command, "--data", "elsewhere"]
        assert parse([*words, "--resume", str(run[0])]).keywords["data"] == "elsewhere"
        assert main(words) == 2
        assert "--data says where the images of a run are" in capsys.readouterr().err

    def test_refuses_other_settings(self, run, capsys):
        assert main(["pretrain", "--resume", str(run[0]), "--seed", "9"]) == 2
        assert "seed: 9 -> 0" in capsys.readouterr().err

    def test_refuses_another_method(self, run, capsys):
        assert main(["pretrain", "--resume", str(run[0]), "--method", "rotnet"]) == 2
        assert "method: rotnet -> decoupling" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("command", "words", "named"),
        [
            ("pretrain", ["digits"], "DATA"),
            ("pretrain", ["--out", "x", "--overwrite"], "--overwrite, --out"),
            ("upright", ["--preset", "digits"], "--preset"),
            ("finetune", ["--from", "x"], "--from"),
            ("finetune", ["--seeds", "3"], "--seeds"),
        ],
    )
    def test_refuses_what_the_run_says(self, run, command, words, named, capsys):
        assert main([command, "--resume", str(run[0]), *words]) == 2
        assert f"--resume RUN takes {named} from the run" in capsys.readouterr().err

    def test_of_what_is_no_run_exits_with_2(self, tmp_path, capsys):
        assert main(["pretrain", "--resume", str(tmp_path / "nothing")]) == 2
        assert "there is no such run or file" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "text",
        ["{", "{}", "[]", '{"config": {"run": {"epochz": 3}}}', '{"config": {"run": 3}}'],
        ids=["cut off", "no settings", "a list", "unknown setting", "no group"],
    )
    def test_of_a_damaged_run_exits_with_2(self, tmp_path, capsys, text):
        (tmp_path / "config.json").write_text(text)
        assert main(["pretrain", "--resume", str(tmp_path)]) == 2
        assert capsys.readouterr().err.startswith("quarterturn: ")

    def test_of_several_seeds_begins_with_the_first(self, tmp_path):
        config = preset("digits-classifier").with_settings(num_clusters=13, seed=4)
        for seed in (4, 5):
            seeded = config.with_settings(seed=seed)
            Run(tmp_path / f"seed-{seed}", "digits", seeded, "abc", "finetune").create()
        one = config_of("finetune", "--resume", str(tmp_path / "seed-5"), "--workers", "0")
        assert one == config.with_settings(seed=5, workers=0)  # what has no flag is the run's too
        assert config_of("finetune", "--resume", str(tmp_path)) == config


@pytest.mark.parametrize(
    ("words", "name", "changes"),
    [
        ("digits", "digits-classifier", {}),
        ("photos --loss ldam", "folder-classifier", {"loss": "ldam"}),
        ("cifar10:x --reweight drw", "cifar10-classifier", {"reweight": "drw"}),
        ("x.npz --preset cifar10-lt-ldam --no-flip", "cifar10-lt-ldam", {"flip": False}),
        (
            "digits --resample balanced --trained none --reweight-from-epoch 3",
            "digits-classifier",
            {"resample": "balanced", "trained": "none", "reweight_from_epoch": 3},
        ),
    ],
)
def test_finetune_has_a_preset_of_its_own(words, name, changes):
    assert config_of("finetune", *words.split()) == preset(name).with_settings(**changes)


def test_pretrain_from_a_run_sees_images_as_it_did(run):
    path, config = run
    keywords = parse(["pretrain", "photos", "--from", str(path)]).keywords
    assert keywords["config"] == seen_as_by(config, preset("folder"))
    keywords = parse(["pretrain", "photos", "--from", str(path), "--method", "distill"]).keywords
    recipe = seen_as_by(config, preset("folder-distill"))
    assert keywords["config"] == recipe
    assert recipe.method.needs_start


def test_finetune_from_a_run_sees_images_as_it_did(run):
    path, config = run
    call = parse(["finetune", "photos", "--from", str(path), "--seeds", "3"])
    assert call.keywords["start"] == str(path)
    assert call.keywords["seeds"] == 3
    assert call.keywords["config"] == seen_as_by(config, preset("small-pretrained-classifier"))


@pytest.mark.parametrize(
    ("words", "arguments", "given"),
    [
        ("demo", ("digits",), {}),
        ("demo photos --limit 50", ("photos",), {"limit": 50}),
        ("probe run photos --kind knn --seeds 3", ("run", "photos"), {"kind": "knn", "seeds": 3}),
        (
            "probe run photos --shots 1 2 --layers all --no-untrained",
            ("run", "photos"),
            {"shots": (1, 2), "layers": ("all",), "untrained": False},
        ),
        (
            "embed run --out e.npz --half rotation",
            ("run", None),
            {"out": Path("e.npz"), "half": "rotation"},
        ),
        ("explore photos --from w.pth --epochs 3", ("photos",), {"start": "w.pth", "epochs": 3}),
        (
            "duplicates photos --keep oldest --move copies --kinds exact near",
            ("photos",),
            {"keep": "oldest", "move": Path("copies"), "kinds": ("exact", "near")},
        ),
        ("duplicates --undo undo.json", (None,), {"undo": Path("undo.json")}),
        ("neighbors run a b --k 5 --data p", ("run", ("a", "b")), {"k": 5, "data": "p"}),
        (
            "orient run photos --write copies --write-all --confidence 0.9",
            ("run", "photos"),
            {"write": Path("copies"), "write_all": True, "confidence": 0.9},
        ),
        ("predict run x --out l.csv --top-k 5", ("run", "x"), {"out": Path("l.csv"), "top_k": 5}),
        ("compare a b --measure few", (("a", "b"),), {"measure": "few"}),
        ("export run --format onnx", ("run",), {"format": "onnx"}),
        ("import x.pth --out run", ("x.pth",), {"out": Path("run")}),
    ],
)
def test_the_other_commands_pass_on_positionals_and_options(words, arguments, given):
    name, *_ = words.split()
    call = parse(words.split())
    assert call.function == COMMANDS[name].function
    assert call.arguments == arguments
    assert COMMANDS[name].options(**call.keywords) == COMMANDS[name].options(**given)


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "digits", "--epoch", "3"],
        ["pretrain", "digits", "--epochs", "many"],
        ["pretrain", "digits", "--flip", "--no-such-option"],
        ["demo", "--epochs", "3"],
        ["probe", "run"],
        ["probe", "run", "digits", "--test-crops", "5"],
        ["embed", "run"],
        ["explore"],
        ["explore", "photos", "--preset", "folder"],
        ["upright", "digits", "--method", "decoupling"],  # there is no choice
        ["upright", "digits", "--view-crops", "3"],
        ["upright", "digits", "--format", "csv"],
        ["orient"],
        ["no-such-command"],
        [],
    ],
)
def test_what_cannot_be_parsed_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err != ""


def test_a_misspelt_option_is_told_the_closest(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "digits", "--learning-rat", "3"])
    assert "--learning-rate FLOAT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "name", "closest"),
    [("--preset", "fodler", "folder"), ("--method", "rotnett", "rotnet")],
)
def test_a_misspelt_name_is_told_the_closest(option, name, closest, capsys):
    assert main(["pretrain", "photos", option, name]) == 2
    what = option.removeprefix("--")
    expected = f"quarterturn: unknown {what} {name!r}; did you mean {closest!r}?\n"
    assert capsys.readouterr().err == expected


def test_settings_of_a_misspelt_command_are_told_the_closest(capsys):
    assert main(["config", "pretrian"]) == 2
    assert "unknown command 'pretrian'; did you mean 'pretrain'?" in capsys.readouterr().err


def test_a_training_without_data_says_what_it_expects(capsys):
    assert main(["pretrain"]) == 2
    assert "expected DATA: a folder of images, .tar or .parquet shards" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    name, number = capsys.readouterr().out.split()
    assert name == "quarterturn"
    assert number[0].isdigit()


def test_the_library_default_is_the_folder_recipe():
    # Config() is what the reference shows; method, length and size of batch are the preset's.
    assert Config().data == preset("folder").data
    assert set(PRESETS) >= {"folder"}
