"""``quarterturn probe`` by the protocols of the literature, from the words to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quarterturn.engine.loop as loop
from quarterturn import probe
from quarterturn.cli import main
from quarterturn.comparing.compare import compare
from quarterturn.presets.protocols import ALEXNET_LAYERS, PROTOCOLS, cifar10_semi_supervised
from quarterturn.runs import Run
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import ProbeResult
from tests.fixtures.runs import MakeRun

from ..data.trees import write_devkit, write_places, write_train, write_val

pytestmark = pytest.mark.usefixtures("without_page")

SHORT = "--epochs 1 --limit 60 --batch-size 32 --device cpu --workers 0"


@pytest.fixture
def convnet(make_run: MakeRun) -> Run:
    """A run on digits, decoupled, that nobody has trained."""
    return make_run(image_size=8, num_noise=16)


@pytest.fixture
def nin(make_run: MakeRun) -> Run:
    """RotNet's network on the same."""
    return make_run("nin", backbone="nin", image_size=8, method="rotnet")


def probed(run: Run, words: str, data: str = "digits") -> ProbeResult:
    """What the command writes, which has to be the only file and to leave no state behind."""
    assert main(["probe", str(run.path), data, *SHORT.split(), *words.split()]) == 0
    (path,) = (run.path / "probes").iterdir()
    return read_record(path, ProbeResult)


def upright_scores(result: ProbeResult) -> list[tuple[str, str, str]]:
    """Origin, part and classifier of the scores on upright test images."""
    return [
        (name.origin, name.part, name.classifier) for name in result.names if name.view == "upright"
    ]


@pytest.fixture
def _small_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarterturn.models.probe_heads.HIDDEN_WIDTH", 16)


@pytest.mark.usefixtures("_small_heads")
@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("imagenet-linear", "linear"),
        ("places205-linear", "linear"),
        ("imagenet-nonlinear", "nonlinear"),
    ],
)
def test_presets_of_alexnet_on_layers_of_another(
    convnet: Run,
    name: str,
    classifier: str,
    terminal: pytest.CaptureFixture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = probed(convnet, f"--preset {name} --layers conv1 conv2")
    assert upright_scores(result) == [
        (origin, layer, classifier)
        for origin in ("trained", "untrained")
        for layer in ("conv1", "conv2")
    ]
    protocol = result.protocol
    assert (protocol["name"], protocol["seeds"]) == (name, [0])
    assert (protocol["epochs"], protocol["batch_size"]) == (1, 32)
    crops = {name: protocol[name] for name in ("crop_fraction", "fixed_crop") if name in protocol}
    of_places = {"crop_fraction": 0.0, "fixed_crop": 224}
    assert crops == (of_places if name == "places205-linear" else {"crop_fraction": 0.875})
    assert protocol["training_images"] == 60
    said = "60 of 60 images are smaller than the crop of 224 pixels, such as "
    assert (said in caplog.text) == (name == "places205-linear")
    printed = terminal.readouterr().out
    value = result.score("trained", "conv1", classifier).measures["top1"].mean
    assert f"{100 * value:.1f}" in printed
    assert "trained: conv1" in printed


@pytest.mark.usefixtures("_small_heads")
def test_presets_on_the_layouts_that_they_are_for(make_run: MakeRun, tmp_path: Path) -> None:
    """AlexNet on ImageNet, with ``val`` flat and in folders, and on Places205."""
    run = make_run(backbone="alexnet", image_size=64, method="rotnet")
    flat = write_val(write_devkit(write_train(tmp_path / "flat")))
    nested = write_val(write_train(tmp_path / "nested"), nested=True)
    write_places(tmp_path / "places")
    tops = {}
    for data, preset, layers, num_classes in (
        (f"imagenet:{flat}", "imagenet-linear", 5, 3),
        (f"imagenet:{nested}", "imagenet-linear", 5, 3),
        (f"imagenet:{flat}", "imagenet-nonlinear", 2, 3),
        (f"places205:{tmp_path / 'places'}", "places205-linear", 5, 205),
    ):
        result = probe(
            run.path,
            data,
            preset=preset,
            epochs=2,
            batch_size=4,
            untrained=False,
            device="cpu",
            workers=0,
        )
        scores = {score.part: score for score in result.scores if score.view == "upright"}
        assert list(scores) == list(ALEXNET_LAYERS[-layers:])
        protocol = result.protocol
        assert (protocol["name"], protocol["epochs"]) == (preset, 2)
        assert (protocol["training_images"], protocol["test_images"]) == (
            (12, 6) if num_classes == 205 else (9, 9)
        )
        (one, *_) = scores.values()
        assert len(one.repeats[0]["per_class"]) == num_classes
        tops[data, preset] = {part: s.measures["top1"].mean for part, s in scores.items()}
    # The same images under the same classes, whichever way val is laid out.
    assert (
        tops[f"imagenet:{flat}", "imagenet-linear"]
        == (tops[f"imagenet:{nested}", "imagenet-linear"])
    )


@pytest.mark.parametrize(
    ("name", "classifier"),
    [("cifar10-multilayer", "multilayer"), ("cifar10-convolutional", "convolutional")],
)
def test_presets_of_rotnet_on_cifar(
    nin: Run, name: str, classifier: str, tmp_path: Path, terminal: pytest.CaptureFixture
) -> None:
    result = probed(nin, f"--preset {name} --no-untrained --seeds 2")
    assert upright_scores(result) == [("trained", "block2", classifier)]
    assert result.protocol["crop_padding"] == 4
    assert len(result.score("trained", "block2", classifier, "turned").repeats) == 2
    compare([nin.path], out=tmp_path / "x.json")
    printed = " ".join(terminal.readouterr().out.split())
    assert f"Probes by protocol {name} {result.protocol_id}" in printed
    assert "each run by its mean over 2 seeds of the probe; ±" in printed


def test_the_semi_supervised_preset(nin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cifar10_semi_supervised().method.images_per_epoch == 50_000  # which would take a minute
    few = cifar10_semi_supervised().with_settings(images_per_epoch=64)
    monkeypatch.setitem(PROTOCOLS, "cifar10-semi-supervised", lambda: few)
    result = probed(nin, "--preset cifar10-semi-supervised --no-untrained --images-per-class 1 2")
    assert upright_scores(result) == [("trained", "block2", f"convolutional-{k}") for k in (1, 2)]
    assert result.protocol["images_per_epoch"] == 64
    (path,) = (nin.path / "probes").iterdir()
    again = probed(nin, "--preset cifar10-semi-supervised --no-untrained --images-per-class 3")
    assert list((nin.path / "probes").iterdir()) == [path]  # others come into the same file
    assert upright_scores(again) == [("trained", "block2", f"convolutional-{k}") for k in (1, 2, 3)]


def test_the_nonlinear_kind_takes_the_last_layer_and_three_seeds(convnet: Run) -> None:
    result = probed(convnet, "--kind nonlinear")
    assert upright_scores(result) == [
        (origin, part, "multilayer")
        for origin in ("trained", "untrained")
        for part in ("rotation", "invariant", "both")
    ]
    assert result.protocol["seeds"] == [0, 1, 2]
    assert (convnet.path / "features").is_dir()
    assert not result.protocol["augment"]


def test_ten_crops_are_another_protocol(convnet: Run) -> None:
    options = {
        "preset": "imagenet-linear",
        "layers": ("conv1",),
        "epochs": 1,
        "limit": 60,
        "untrained": False,
        "device": "cpu",
        "workers": 0,
    }
    one, ten = (probe(convnet.path, "digits", test_crops=n, **options) for n in (1, 10))
    assert one.protocol_id != ten.protocol_id
    assert (one.protocol["test_crops"], ten.protocol["test_crops"]) == (1, 10)
    assert one.scores != ten.scores


def test_an_interrupted_command_resumes(
    convnet: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = f"digits {SHORT} --preset imagenet-linear --layers conv1 --no-untrained"
    command = ["probe", str(convnet.path), *words.replace("--epochs 1", "--epochs 3").split()]
    steps, step = iter(range(3)), loop.training_step

    def stopping(*arguments: Any, **options: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr(loop, "training_step", stopping)
    assert main(command) == 130
    assert "the same command resumes" in capsys.readouterr().err
    (folder,) = (convnet.path / "probes").iterdir()
    assert folder.name.endswith(".training")
    monkeypatch.setattr(loop, "training_step", step)
    assert main(command) == 0
    (path,) = (convnet.path / "probes").iterdir()  # the folder is gone
    found = read_record(path, ProbeResult)
    path.unlink()
    assert main(command) == 0
    assert read_record(path, ProbeResult).scores == found.scores


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--preset imagenet", "unknown preset 'imagenet'; did you mean 'imagenet-linear'?"),
        ("--preset digits", "unknown preset 'digits'; there are imagenet-linear, "),
        ("--preset imagenet-linear --kind linear", "give --kind linear or --preset imagenet-linea"),
        ("--epochs 3 --test-crops 10", "only for a --preset, and none is given: --epochs, --test-"),
        ("--preset imagenet-linear", "no layers conv3, conv4, conv5; the backbone has conv1,"),
        ("--preset imagenet-linear --layers conv9", "no layers conv9; the backbone has conv1, "),
        ("--preset imagenet-nonlinear --layers fc", "rotation: a nonlinear head needs maps, and"),
        ("--preset cifar10-convolutional --layers fc", "rotation: a convolutional head needs maps"),
        ("--preset imagenet-linear --layers conv1 --images-per-class 0", "--images-per-class is "),
        ("--preset imagenet-linear --layers conv1 --epochs -1", "--epochs is -1; expected 0"),
        ("--kind nonlinear --test-crops 10", "--test-crops is 10; expected 1 where features are"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    convnet: Run, words: str, told: str, capsys: pytest.CaptureFixture
) -> None:
    base = f"probe {convnet.path} digits --limit 60 --device cpu --workers 0"
    assert main([*base.split(), *words.split()]) == 2
    said = capsys.readouterr().err
    assert told in " ".join(said.split())
    assert "Traceback" not in said
    assert not list((convnet.path).glob("probes/*.json"))


@pytest.fixture
def uneven(tmp_path: Path) -> str:
    """Noise of two classes, 12 and 6 images to learn from, and 8 to test on."""
    random, labels = np.random.default_rng(0), np.array([0] * 12 + [1] * 6)
    np.savez(
        tmp_path / "uneven.npz",
        train_images=random.integers(0, 256, (18, 8, 8, 3), np.uint8),
        train_labels=labels,
        test_images=random.integers(0, 256, (8, 8, 8, 3), np.uint8),
        test_labels=np.arange(8) % 2,
    )
    return str(tmp_path / "uneven.npz")


WORDS = "--preset imagenet-linear --layers conv1 --no-untrained --images-per-class"


def test_more_images_than_some_classes_have(
    convnet: Run, uneven: str, terminal: pytest.CaptureFixture
) -> None:
    result = probed(convnet, f"{WORDS} 3 6 7", uneven)
    assert upright_scores(result) == [
        ("trained", "conv1", "linear-3"),
        ("trained", "conv1", "linear-6"),
    ]
    said = " ".join(terminal.readouterr().err.split())
    assert "left out: 7 images of each class; the smallest class has 6" in said


def test_more_images_than_any_class_has(
    convnet: Run, uneven: str, capsys: pytest.CaptureFixture
) -> None:
    words = f"probe {convnet.path} {uneven} {SHORT} {WORDS} 7"
    assert main(words.split()) == 2
    assert "--images-per-class is 7; expected at most 6" in capsys.readouterr().err


def test_data_without_labels(convnet: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((9, 8, 8), np.uint8))
    words = f"probe {convnet.path} {tmp_path / 'x.npz'} --preset imagenet-linear --layers conv1"
    assert main(words.split()) == 2
    assert "has no labels" in capsys.readouterr().err
