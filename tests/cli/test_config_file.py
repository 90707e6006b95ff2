import json
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from quarterturn.cli import main
from quarterturn.cli.commands import COMMANDS, SHOW_CONFIG
from quarterturn.cli.config_file import read_config_file
from quarterturn.cli.parsing import parse
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.presets import PRESETS, preset

TRAININGS = [name for name, command in COMMANDS.items() if command.training]


@pytest.fixture
def file(tmp_path):
    """Writes a file of settings; returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "settings.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def config_of(*words: str) -> Config:
    config: Config = parse(list(words)).keywords["config"]
    return config


def shown(*words: str) -> str:
    (text,) = parse([SHOW_CONFIG, *words]).arguments
    return str(text)


class TestRoundTrip:
    @pytest.mark.parametrize("name", PRESETS)
    def test_what_is_shown_gives_the_same_call(self, name, file):
        config = preset(name)
        function = config.method.command
        command = next(n for n, c in COMMANDS.items() if c.function.endswith(f":{function}"))
        path = file(shown(command, "--preset", name))
        found = parse([command, "data", "--config", path])
        assert found.keywords == parse([command, "data", "--preset", name]).keywords
        assert found.keywords["config"].run == config.run

    def test_flags_are_in_the_file(self, file):
        path = file(shown("pretrain", "digits", "--epochs", "3", "--crop-scale", "0.5", "0.9"))
        config = config_of("pretrain", "photos", "--config", path)
        assert config == preset("digits").with_settings(epochs=3, crop_scale=(0.5, 0.9))

    def test_a_run_can_be_read_and_shown(self, tmp_path):
        config = preset("digits").with_settings(epochs=7, temperature=0.3)
        path = tmp_path / "config.json"
        stored = {"data": "digits", "format": FORMAT, "config": config.to_dict()}
        path.write_text(json.dumps(stored))
        assert config_of("pretrain", "photos", "--config", str(path)) == config
        groups = yaml.safe_load(shown("pretrain", "--config", str(path)))
        assert {n: groups[n] for n in config.to_dict()} == json.loads(json.dumps(config.to_dict()))

    @pytest.mark.parametrize("name", [n for n in COMMANDS if n != SHOW_CONFIG])
    def test_every_option_is_shown_and_read(self, name, file):
        text = shown(name)
        found = yaml.safe_load(text)
        assert len(found["options"]) == len(fields(COMMANDS[name].options))
        groups = COMMANDS[name].options.groups if name in TRAININGS else ()
        assert set(found) - {"command", "options", "format"} == set(groups)
        assert shown(name, "--config", file(text)) == text


class TestPrecedence:
    def test_flags_come_before_the_file_and_it_before_the_preset(self, file):
        path = file("run: {epochs: 3, batch_size: 48}\nmodel: {backbone: resnet20}\n")
        words = ["pretrain", "digits", "--config", path, "--epochs", "5"]
        expected = preset("digits").with_settings(epochs=5, batch_size=48, backbone="resnet20")
        assert config_of(*words) == expected

    def test_a_preset_in_the_file(self, file):
        path = file("options: {preset: digits, out: runs/here}\n")
        call = parse(["pretrain", "photos", "--config", path])
        assert call.keywords["config"] == preset("digits")
        assert str(call.keywords["out"]) == "runs/here"
        call = parse(["pretrain", "photos", "--config", path, "--preset", "folder", "--out", "o"])
        assert call.keywords["config"] == preset("folder")
        assert str(call.keywords["out"]) == "o"

    def test_a_method_brings_its_own_flags(self, file):
        path = file("method: {name: multiview, temperature: 0.3}\n")
        words = ["pretrain", "digits", "--config", path, "--invariance-weight", "2"]
        method = config_of(*words).method
        assert method.name == "multiview"
        assert (method.temperature, method.invariance_weight) == (0.3, 2.0)
        assert config_of(*words[:4], "--method", "rotnet").method.name == "rotnet"

    def test_part_of_a_method_is_the_presets(self, file):
        config = config_of("pretrain", "digits", "--config", file("method: {temperature: 0.25}\n"))
        assert config == preset("digits").with_settings(temperature=0.25)

    @pytest.mark.parametrize(
        ("text", "words", "budget"),
        [
            ("options: {budget: 2h}", "", "2h"),
            ("options: {budget: 2h}", "--budget 5m", "5m"),
            ("options: {budget: 2h}", "--epochs 3", None),
            ("run: {epochs: 3}", "", None),
            ("run: {epochs: 3}", "--budget 5m", "5m"),
            ("", "", "auto"),
        ],
    )
    def test_the_length_is_what_was_said_last(self, file, text, words, budget):
        call = parse(["pretrain", "photos", "--config", file(text), *shlex.split(words)])
        assert call.keywords["budget"] == budget

    def test_options_of_a_command_that_trains_nothing(self, file):
        path = file("options: {limit: 70}\n")
        call = parse(["probe", "run", "data", "--config", path])
        assert call.keywords["limit"] == 70
        assert (
            parse(["probe", "run", "data", "--config", path, "--limit", "9"]).keywords["limit"] == 9
        )

    def test_numbers_are_read_as_people_write_them(self, file):
        path = file("optimizer: {learning_rate: 1e-3}\ndata: {crop_scale: [2e-1, 1]}\n")
        config = config_of("pretrain", "digits", "--config", path)
        assert config.optimizer.learning_rate == 0.001
        assert config.data.crop_scale == (0.2, 1.0)

    def test_words_that_begin_like_numbers_are_words(self, file):
        path = file("options: {out: 1e2x, from: 3e45ab}\n")
        assert read_config_file(Path(path), "pretrain", COMMANDS["pretrain"]).options == {
            "out": Path("1e2x"),
            "start": "3e45ab",
        }


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "text", "reason"),
        [
            ("pretrain digits", "run: {epoch: 3}", "unknown setting of run 'epoch'; did you mean"),
            ("pretrain digits", "runs: {epochs: 3}", "unknown group of settings 'runs'; did you"),
            ("pretrain digits", "options: {outt: x}", "unknown option 'outt'; did you mean 'out'"),
            ("pretrain digits", "run: {epochs: 3, epochs: 4}", "'epochs' is there twice"),
            ("pretrain digits", "run: {epochs: '3'}", "--epochs is '3'; expected 0 or more"),
            ("pretrain digits", "run: {epochs: 3.5}", "is 3.5; expected a whole number, 0 or more"),
            ("pretrain digits", "options: {budget: 1}", "--budget is 1; expected a word"),
            ("pretrain digits", "options: {dry_run: 'yes'}", "is 'yes'; expected true or false"),
            ("pretrain digits", "? [a, b]\n: 1", "names are words"),
            ("pretrain digits", "1: {a: 2}", "names are words"),
            ("pretrain digits", "run: {1: 2}", "names are words"),
            ("pretrain digits", "options: {out: 2026-13-45}", "cannot be read as YAML"),
            ("pretrain digits", "run: [3", "cannot be read as YAML"),
            ("pretrain digits", "- run", "holds list; expected names with values"),
            ("pretrain digits", "run: 3", "run is 3; expected names with values"),
            ("pretrain digits", "options: 3", "options is 3; expected names with values"),
            ("pretrain digits", "command: probe", "is for quarterturn probe, not pretrain"),
            ("pretrain digits", "format: 99", "of format 99"),
            ("pretrain digits", "format: 0", "format is 0; expected a whole number, 1 or more"),
            ("pretrain digits", "method: {name: magic}", "unknown method 'magic'"),
            ("finetune digits", "method: {name: multiview}", "is of the method multiview"),
            ("finetune digits", "noise_aware: {upright: auto}", "has settings of noise_aware"),
            ("probe run data", "run: {epochs: 3}", "trains nothing"),
            ("pretrain --resume run", "run: {epochs: 3}", "leave --config out"),
        ],
    )
    def test_in_words(self, file, words, text, reason):
        with pytest.raises(ConfigError, match=reason):
            parse([*words.split(), "--config", file(text)])

    def test_a_preset_beside_a_file_that_has_every_setting(self, file):
        words = ["pretrain", "digits", "--config", file(shown("pretrain", "--preset", "digits"))]
        with pytest.raises(ConfigError, match="so --preset folder would change none"):
            parse([*words, "--preset", "folder"])
        parse([*words, "--preset", "digits"])  # as the file says
        part = ["pretrain", "digits", "--config", file("run: {epochs: 3}")]
        assert config_of(*part, "--preset", "digits").data.image_size == 16

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(ConfigError, match="no such file"):
            parse(["pretrain", "digits", "--config", str(tmp_path / "none.yaml")])

    def test_a_value_that_cannot_work_before_anything_is_written(self, file, tmp_path, capsys):
        out = tmp_path / "run"
        for text in ("run: {epochs: many}", "options: {overwrite: perhaps}"):
            words = ["pretrain", "digits", "--config", file(text), "--out", str(out)]
            assert main(words) == 2
        printed = capsys.readouterr().err
        assert "--epochs is 'many'; expected" in printed
        assert "--overwrite is 'perhaps'; expected true or false" in printed
        assert not out.exists()


def test_the_command_prints(capsys):
    assert main([SHOW_CONFIG, "pretrain", "--preset", "digits"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["data"]["image_size"] == 16
