import pytest

from quarterturn.cli import main
from quarterturn.cli.commands import COMMANDS, DATA_WORDS
from quarterturn.cli.flags import entries
from quarterturn.config.options import flag_of
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS

OUT = ["out", "overwrite"]
COMPUTE = ["device", "workers"]
TRAINING = ["out", "preset", "overwrite", "resume"]
RUN = ["epochs", "batch_size", "seed", "learning_rate", *COMPUTE]
COMMON = {
    "demo": [*OUT, "limit", "seed"],
    "report": [],
    "pretrain": [
        *TRAINING,
        "start",
        "budget",
        "image_size",
        "limit",
        "backbone",
        "trained",
        "method",
        *RUN,
        "upright",
        "folds",
    ],
    "upright": [
        *[*TRAINING, "start", "format", "folds", "image_size", "limit", "backbone", "trained"],
        *RUN,
    ],
    "orient": [*OUT, "apply", "write", "write_all", "agnostic", "confidence", *COMPUTE],
    "probe": [
        *["kind", "preset", "test", "layers", "shots", "untrained", "seed", "seeds", "limit"],
        *COMPUTE,
    ],
    "finetune": [
        *["start", "seeds", *TRAINING, "image_size", "limit", "backbone"],
        *["loss", "reweight", "trained", "solver", *RUN],
    ],
    "detect": [
        *["start", "proposals", *TRAINING, "iterations", "scales"],
        *["image_size", "limit", "backbone", "trained", *RUN],
    ],
    "predict": [*OUT, "top_k", "threshold", *COMPUTE],
    "explore": [*OUT, "data", "start", "epochs", "clusters", "seed", *COMPUTE],
    "label": [*OUT, "suggest", "data", "classifier", "labelled", "seed", *COMPUTE],
    "doctor": [*OUT, "strict", "preset", "image_size", "timing", *COMPUTE],
    "duplicates": [*OUT, "data", "keep", "move", "kinds", "undo", "workers"],
    "embed": [*OUT, "half", *COMPUTE],
    "neighbors": [*OUT, "data", "k", "half", *COMPUTE],
    "cache": [*OUT, "side", "quality", "workers"],
    "config": [],
    "compare": [*OUT, "format", "measure", "mixed"],
    "export": [*OUT, "format", "licence", "layers", "num_classes", "input"],
    "import": [*OUT, "backbone", "ema", "prefix", "licence"],
}
"""The options in ``--help``; it takes a reason to change them."""


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a call prints that only shows help, in one line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code in (0, None)
    printed = capsys.readouterr().out
    return " ".join(printed.replace("│", " ").split())


def config_for(name: str) -> Config | None:
    training = COMMANDS[name].training
    if training is None:
        return None
    return Config(method=METHODS[training.method or "multiview"]())


def test_every_command_is_listed_in_order(capsys):
    printed = shown(capsys, "--help")
    places = [printed.index(f"• {name} ") for name in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", COMMANDS)
def test_common_options(name):
    found = [
        entry.name
        for entry in entries(COMMANDS[name], config_for(name), any_method=False)
        if flag_of(entry.kind).common
    ]
    assert sorted(found) == sorted(COMMON[name])
    assert len(found) <= 19


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_common_options_and_help_all_every_one(name, capsys):
    usual, every = shown(capsys, name, "--help"), shown(capsys, name, "--help-all")
    assert "--help-all lists all" in usual
    for entry in entries(COMMANDS[name], config_for(name), any_method=False):
        flag = flag_of(entry.kind)
        words = f"--{(flag.name or entry.name).replace('_', '-')} "
        words = words.replace(" ", "," if isinstance(entry.default, bool) else " ")
        assert words in every
        assert (words in usual) == flag.common
        assert entry.help
    assert "%%" not in every


def test_help_shows_the_defaults_of_the_preset(capsys):
    assert "in pixels. (default: 16)" in shown(capsys, "pretrain", "digits", "--help")
    assert "in pixels. (default: 128)" in shown(capsys, "pretrain", "photos", "--help")


@pytest.mark.parametrize(
    ("method", "own", "foreign"),
    [
        ("decoupling", ["--temperature", "--invariance-weight", "--rotation-weight"], ["--loss "]),
        ("rotnet", ["--rotation-weight"], ["--temperature", "--invariance-weight"]),
        ("instance", ["--temperature", "--instance-loss"], ["--rotation-weight"]),
    ],
)
def test_each_method_shows_its_own_flags(method, own, foreign, capsys):
    printed = shown(capsys, "pretrain", "--method", method, "--help-all")
    assert all(flag in printed for flag in own)
    assert not any(flag in printed for flag in foreign)


def test_finetune_shows_only_the_flags_of_a_classifier(capsys):
    printed = shown(capsys, "finetune", "--help-all")
    assert "--post-hoc-adjustment" in printed
    for foreign in ("--temperature", "--embedding-dim", "--gamma ", "--method"):
        assert foreign not in printed


def test_sections_have_plain_names_and_research_comes_last(capsys):
    printed = shown(capsys, "pretrain", "--help-all")
    sections = ["images", "network", "method", "training", "optimizer", "machine"]
    sections += ["noise-aware-phase", "folds", "long-tail"]
    places = [printed.index(f"{name} options ") for name in sections]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["demo", "pretrain", "upright"])
def test_help_says_what_data_may_be(name, capsys):
    assert f"DATA {DATA_WORDS}." in shown(capsys, name, "--help")


def test_a_script_for_completion_knows_commands_and_flags(capsys):
    printed = shown(capsys, "--tyro-print-completion", "bash")
    assert all(name in printed for name in COMMANDS)
    assert "--learning-rate" in printed
