import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest

import quarterturn
from quarterturn.cli import (
    Demo,
    Embed,
    Finetune,
    Neighbors,
    Orient,
    Pretrain,
    Probe,
    Upright,
    main,
    parse,
)
from quarterturn.cli.arguments import DATA_WORDS
from quarterturn.cli.groups import whole
from quarterturn.config import Config, MethodConfig
from quarterturn.errors import ConfigError
from quarterturn.presets import PRESETS, preset, seen_as_by
from quarterturn.runs import Run


@pytest.fixture
def run(tmp_path):
    """A run directory that holds nothing but its configuration, and that configuration."""
    config = preset("digits").with_settings(epochs=7, temperature=0.3, crop_scale=(0.5, 0.9))
    stored = {"data": "digits", "fingerprint": "0", "config": config.to_dict()}
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
    command = parse(["pretrain", *words.split()])
    assert isinstance(command, Pretrain)
    assert command.config == preset(name)
    assert command.data == data


OVERRIDES = {
    "--epochs 3": {"epochs": 3},
    "--batch-size 32 --seed 5": {"batch_size": 32, "seed": 5},
    "--backbone convnet": {"backbone": "convnet"},
    "--method rotnet": {"method": "rotnet"},
    "--instance-loss nce --noise per-image": {"instance_loss": "nce", "noise": "per-image"},
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
@pytest.mark.parametrize("data", ["digits", "photos"])
def test_options_override_the_preset_alone_by_name(data, words):
    base = preset("digits" if data == "digits" else "folder")
    assert parse(["pretrain", data, *words.split()]).config == base.with_settings(
        **OVERRIDES[words]
    )


def of_networks(command: Upright) -> Config:
    """The whole configuration of what upright trains."""
    return whole(command.config, method=MethodConfig(method="rotnet"))


@pytest.mark.parametrize(
    ("words", "data", "name"),
    [
        ("digits", "digits", "digits"),
        ("photos", "photos", "folder-rotnet"),
        ("cifar10:sets", "cifar10:sets", "cifar10-resnet18"),
        ("photos --preset imagenet-rotnet", "photos", "imagenet-rotnet"),
        ("--preset=digits photos", "photos", "digits"),
    ],
)
def test_defaults_of_upright_are_its_presets(words, data, name):
    command = parse(["upright", *words.split()])
    assert isinstance(command, Upright)
    assert command.data == data
    expected = replace(preset(name), method=MethodConfig(method="rotnet"))
    assert of_networks(command) == expected
    assert (command.format, command.overwrite, command.out) == ("npz", False, None)


def test_options_of_upright():
    words = "--folds 3 --validation 0.2 --patience 1 --view-crops 1 --epochs 7 --limit 50"
    command = parse(["upright", "digits", *words.split(), "--format", "dat", "--out", "here"])
    expected = preset("digits").with_settings(
        folds=3, validation=0.2, patience=1.0, view_crops=1, epochs=7, limit=50
    )
    assert of_networks(command) == replace(expected, method=MethodConfig(method="rotnet"))
    assert (command.format, str(command.out)) == ("dat", "here")


def test_resume_of_upright_takes_the_runs_configuration(run):
    path, config = run
    command = parse(["upright", "--resume", str(path), "--workers", "0"])
    assert command.resume == path
    expected = replace(config.with_settings(workers=0), method=MethodConfig(method="rotnet"))
    assert of_networks(command) == expected


def test_options_may_stand_before_the_data():
    command = parse(["pretrain", "--epochs", "3", "--out", "here", "digits"])
    assert command.config == preset("digits").with_settings(epochs=3)
    assert str(command.out) == "here"
    assert not command.overwrite


def test_resume_takes_the_runs_configuration(run):
    path, config = run
    command = parse(["pretrain", "--resume", str(path)])
    assert command.resume == path
    assert command.data is None
    assert command.config == config
    assert parse(["pretrain", f"--resume={path}"]).config == config
    changed = parse(["pretrain", "--resume", str(path), "--workers", "0"]).config
    assert changed == config.with_settings(workers=0)


def test_a_resumed_run_refuses_other_settings(run, capsys):
    path, _ = run
    assert main(["pretrain", "--resume", str(path), "--epochs", "9"]) == 2
    assert "epochs: 9 -> 7" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pretrain", "upright"])
@pytest.mark.parametrize("words", [["digits"], ["--out", "x"], ["--preset", "digits"]])
def test_resume_goes_with_nothing_else(run, name, words, capsys):
    path, _ = run
    assert main([name, "--resume", str(path), *words]) == 2
    assert "--resume RUN takes" in capsys.readouterr().err


def test_resuming_what_is_no_run_exits_with_2(tmp_path, capsys):
    assert main(["pretrain", "--resume", str(tmp_path / "nothing")]) == 2
    assert "no config.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["{", "{}", "[]", '{"config": {"run": {"epochz": 3}}}', '{"config": {"run": 3}}'],
    ids=["cut off", "no settings", "a list", "unknown setting", "no group"],
)
def test_resuming_a_damaged_run_exits_with_2(tmp_path, capsys, text):
    (tmp_path / "config.json").write_text(text)
    assert main(["pretrain", "--resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("quarterturn: ")


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "digits", "--epoch", "3"],
        ["pretrain", "digits", "--epochs", "many"],
        ["pretrain", "digits", "--method", "simclr"],
        ["pretrain", "digits", "--flip", "--no-such-option"],
        ["demo", "--epochs", "3"],
        ["probe", "run"],
        ["probe", "run", "digits", "--test-crops", "5"],
        ["embed", "run"],
        ["neighbors", "run"],
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


def test_an_unknown_preset_names_those_there_are(capsys):
    with pytest.raises(ConfigError, match="'fodler'"):
        parse(["pretrain", "photos", "--preset", "fodler"])
    assert main(["pretrain", "photos", "--preset", "fodler"]) == 2
    error = capsys.readouterr().err
    assert error == f"quarterturn: unknown preset 'fodler'; there are {', '.join(PRESETS)}\n"


def test_pretrain_without_data_says_what_it_expects(capsys):
    assert main(["pretrain"]) == 2
    assert "expected DATA: a folder of images, a .csv manifest" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [None, "demo", "pretrain", "upright", "orient", "probe", "embed", "neighbors"]
)
def test_help_exits_with_0(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"] if command else ["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "quarterturn" in printed
    assert "%%" not in printed


@pytest.mark.parametrize("command", ["demo", "pretrain", "upright"])
def test_help_says_what_data_may_be(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"DATA {DATA_WORDS}." in printed


def test_version(capsys):
    assert main(["--version"]) == 0
    name, number = capsys.readouterr().out.split()
    assert name == "quarterturn"
    assert number[0].isdigit()


def test_the_other_commands():
    assert parse(["demo"]) == Demo()
    assert parse(["demo", "photos", "--limit", "50"]) == Demo("photos", limit=50)
    probe = parse(["probe", "runs/x-1", "photos", "--kind", "knn", "--seeds", "3"])
    assert isinstance(probe, Probe)
    assert (str(probe.run_directory), probe.data) == ("runs/x-1", "photos")
    assert (probe.kind, probe.seeds, probe.test) == ("knn", 3, None)
    assert not probe.download
    assert (probe.preset, probe.epochs, probe.images_per_class) == (None, None, None)
    words = "--preset cifar10-semi-supervised --epochs 3 --batch-size 64 --images-per-class 20 100"
    probe = parse(["probe", "run", "cifar10:sets", *words.split(), "--test-crops", "10"])
    assert isinstance(probe, Probe)  # a preset that `pretrain` does not have
    assert (probe.preset, probe.kind, probe.seeds) == ("cifar10-semi-supervised", "all", None)
    assert (probe.epochs, probe.batch_size, probe.test_crops) == (3, 64, 10)
    assert probe.images_per_class == (20, 100)
    assert parse(["probe", "run", "cifar10:sets", "--download"]).download
    embed = parse(["embed", "runs/x-1", "--out", "e.npz", "--half", "rotation"])
    assert isinstance(embed, Embed)
    assert (str(embed.out), embed.data, embed.half) == ("e.npz", None, "rotation")
    neighbors = parse(["neighbors", "runs/x-1", "kitchen/12.jpg", "--k", "5", "--data", "photos"])
    assert neighbors == Neighbors(Path("runs/x-1"), "kitchen/12.jpg", data="photos", k=5)
    words = "runs/x-1 photos --write copies --write-all --in-sample --confidence 0.9"
    assert parse(["orient", *words.split()]) == Orient(
        Path("runs/x-1"),
        "photos",
        write=Path("copies"),
        write_all=True,
        in_sample=True,
        confidence=0.9,
    )


def test_orient_has_the_defaults_of_the_library():
    # The command line does not load the room where they are told.
    command = parse(["orient", "runs/x-1"])
    for name, parameter in inspect.signature(quarterturn.orient).parameters.items():
        if name != "run":
            assert getattr(command, name) == parameter.default


def test_the_library_default_is_the_folder_recipe():
    # Config() is what `--help` shows for pretrain; only length and size of batch are the preset's.
    assert Config().data == preset("folder").data
    method = replace(preset("folder").method, fold_preset=None)  # a recipe of its own for folds
    assert Config().method == method


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
    command = parse(["finetune", *words.split()])
    assert isinstance(command, Finetune)
    assert command.config == preset(name).with_settings(**changes)


def test_finetune_from_a_run_sees_images_as_it_did(run):
    path, config = run
    command = parse(["finetune", "photos", "--from", str(path), "--seeds", "3"])
    assert command.start == path
    assert command.seeds == 3
    assert command.config == seen_as_by(config, preset("folder-classifier"))
    assert command.config.model.backbone == "convnet"


def test_resume_takes_hidden_options_from_the_run(tmp_path):
    settings = {"num_noise": 17, "noise_aware_rate": 0.5, "num_clusters": 13, "seed": 4}
    config = preset("digits").with_settings(**settings, method="classifier")
    Run(tmp_path / "seeds" / "seed-4", "digits", config, "abc", "finetune").create()
    later = config.with_settings(seed=5)
    Run(tmp_path / "seeds" / "seed-5", "digits", later, "abc", "finetune").create()
    one = parse(["finetune", "--resume", str(tmp_path / "seeds" / "seed-5"), "--workers", "0"])
    assert one.config == later.with_settings(workers=0)
    every = parse(["finetune", "--resume", str(tmp_path / "seeds")])
    assert every.config == config
    assert parse(["finetune", "digits"]).config == preset("digits-classifier")
    assert main(["finetune", "--resume", str(tmp_path / "seeds"), "--seeds", "3"]) == 2


def test_finetune_has_its_own_words_for_what_it_does_otherwise(capsys):
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Fraction of each class held out by --seed to be tested on" in shown
    assert "Epochs between tests" in shown
    for foreign in ("noise-aware", "leakage", "1,000 images"):
        assert foreign not in shown
    with pytest.raises(SystemExit):
        main(["finetune", "digits", "--noise-aware-rate", "0.1"])


def test_each_command_shows_its_own_settings(capsys):
    shown = {}
    for name in ("pretrain", "finetune"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        shown[name] = capsys.readouterr().out
    assert "--loss" in shown["finetune"]
    assert "--temperature" not in shown["finetune"]
    assert "--temperature" in shown["pretrain"]
    assert "--post-hoc-adjustment" not in shown["pretrain"]
