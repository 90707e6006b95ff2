import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import quarterturn

NAMES = {
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "Embedder",
    "FocalLoss",
    "InstanceBank",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "QuarterturnError",
    "Run",
    "average_precision",
    "compare",
    "demo",
    "detection_average_precision",
    "duplicates",
    "effective_number_weights",
    "embed",
    "explore",
    "export",
    "finetune",
    "import_checkpoint",
    "infonce_loss",
    "invariance_loss",
    "label",
    "ldam_margins",
    "load_backbone",
    "long_tail_counts",
    "long_tail_indices",
    "nce_loss",
    "neighbors",
    "orient",
    "predict",
    "pretrain",
    "probe",
    "pu_weights",
    "resume",
    "resume_finetune",
    "rotate4",
    "rotation_loss",
    "upright",
}
HEAVY = ["torch", "torchvision", "sklearn", "matplotlib", "PIL"]


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a statement loads in a fresh interpreter."""
    code = f"import sys\n{statement}\nprint(*(n for n in {HEAVY} if n in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_no_name_is_lost():
    assert set(quarterturn.__all__) >= NAMES
    assert len(quarterturn.__all__) == len(set(quarterturn.__all__))


@pytest.mark.parametrize("name", quarterturn.__all__)
def test_name_is_importable(name):
    value = getattr(quarterturn, name)
    assert callable(value)
    assert value.__name__ == name
    assert value.__module__.startswith("quarterturn.")
    assert name in dir(quarterturn)


def test_no_room_takes_the_place_of_a_command():
    """Importing a sub-package sets it on the package, over a public name that is the same."""
    for room in pkgutil.iter_modules(quarterturn.__path__):
        assert room.name not in quarterturn.__all__, room.name
    command = import_module("quarterturn.orientation.upright")
    import_module("quarterturn.orientation.networks")
    assert callable(quarterturn.upright)
    assert quarterturn.upright is command.upright


def test_star_import_brings_all_names():
    names: dict[str, object] = {}
    exec("from quarterturn import *", names)
    assert set(names) >= set(quarterturn.__all__)


def test_errors_are_one_family():
    for error in (quarterturn.ConfigError, quarterturn.DataError, quarterturn.CheckpointError):
        assert issubclass(error, quarterturn.QuarterturnError)
    assert not issubclass(quarterturn.ConfigError, quarterturn.DataError)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'rotate5'"):
        quarterturn.rotate5  # noqa: B018
    assert not hasattr(quarterturn, "torch")


@pytest.mark.parametrize(
    "statement",
    [
        "import quarterturn",
        "import quarterturn; dir(quarterturn); quarterturn.QuarterturnError",
        "from quarterturn import long_tail_counts, long_tail_indices",
        "import quarterturn.cli",
        "import quarterturn.config, quarterturn.presets, quarterturn.errors",
        "from quarterturn.cli.parsing import parse; parse(['pretrain', 'digits', '--epochs', '3'])",
        "from quarterturn.cli.parsing import parse; parse(['upright', 'digits', '--folds', '3'])",
    ],
)
def test_nothing_heavy_is_loaded(statement):
    assert loaded_by(statement) == set()


def test_names_load_what_they_need_and_no_more():
    assert loaded_by("from quarterturn import embed, neighbors, predict") == {"torch", "PIL"}
