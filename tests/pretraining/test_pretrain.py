from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import cifar

import quarterturn.engine.checkpoint as checkpoint
import quarterturn.runs.start as preparation
from quarterturn import ConfigError, DataError, load_backbone, pretrain, probe, resume
from quarterturn.cli import main
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError, TrainingError
from quarterturn.methods.configuration import Config
from quarterturn.pages.report import write_report
from quarterturn.runs import Run
from quarterturn.runs.lock import FILE as LOCK
from tests.fixtures.runs import QUICK

from ..data.fake_cifar import write_cifar

pytestmark = pytest.mark.usefixtures("without_page")

PLAIN = {**QUICK, "diagnostics": False}
"""For what is seen in the weights."""


def test_a_run_directory_holds_what_it_promises(digits_run: Run) -> None:
    run = digits_run.path
    for name in ("config.json", "environment.json", "items.csv", "metrics.jsonl", "report.html"):
        assert (run / name).stat().st_size > 0, name
    environment = json.loads((run / "environment.json").read_text())
    assert environment["precision"] in ("32-true", "bf16-mixed")
    assert environment["seed"] == 0
    assert environment["versions"]["torch"] == torch.__version__
    with open(run / "items.csv", newline="") as file:
        items = list(csv.DictReader(file))
    trained_on = [row["index"] for row in items if row["status"] == "trained on"]
    assert trained_on == [str(i) for i in range(120)]
    assert [row["status"] for row in items[120:]] == ["not used"] * (1347 - 120)

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "train"][-1]
    assert last["loss"] == pytest.approx(last["rotation"] + last["invariance"] + last["instance"])
    accuracies = [line["rotation_accuracy"] for line in lines if line["kind"] == "train"]
    assert all(0 < accuracy <= 1 for accuracy in accuracies)
    assert accuracies[-1] > 0.3  # of guessing: 0.25
    measured = [line for line in lines if line["kind"] == "diagnostics"][-1]
    assert 0.25 < measured["rotation_accuracy"] <= 1
    assert {"leakage_same_head", "leakage_fresh_head", "spread"} <= measured.keys()
    assert list(run.glob("figures/*.png"))


def test_load_backbone_gives_the_trained_weights(digits_run: Run) -> None:
    backbone = load_backbone(digits_run.path)
    assert not backbone.training
    images = torch.rand(3, 3, 16, 16)
    assert backbone(images).shape == (3, 256)
    assert set(backbone.features(images, ["conv2"])) == {"conv2"}
    stored = torch.load(digits_run.checkpoint, weights_only=True)["network"]
    assert backbone.network.state_dict().keys() == stored.keys()
    for name, weight in backbone.network.state_dict().items():
        assert torch.equal(weight, stored[name])


def test_labels_are_never_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    runs = []
    for name, labels in [("a", np.arange(40) % 3), ("b", np.arange(40) % 2)]:
        np.savez(tmp_path / f"{name}.npz", train_images=pixels, train_labels=labels)
        settings = {**PLAIN, "image_size": 12, "backbone": "convnet", "epochs": 1}
        runs.append(pretrain(str(tmp_path / f"{name}.npz"), out=tmp_path / name, **settings))
    states = [torch.load(run.checkpoint, weights_only=True)["network"] for run in runs]
    assert all(torch.equal(w, states[1][k]) for k, w in states[0].items())


def test_reports_that_labels_cut_a_long_tail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "pretrain digits --epochs 1 --num-noise 8 --device cpu --limit 100 --no-diagnostics"
    told = "labels were read to cut a long tail (exponential, 0.1): 545 of 1,347 images"
    for name, more in [("cut", ["--long-tail", "0.1"]), ("whole", [])]:
        assert main([*words.split(), *more, "--out", str(tmp_path / name)]) == 0
        said = " ".join(capsys.readouterr().err.split())
        page = " ".join(write_report(Run.open(tmp_path / name)).read_text().split())
        assert (told in said) == (told in page) == (name == "cut")
        assert ("no labels are read" in said) == ("no labels were read" in page) == (name != "cut")
    assert Run.open(tmp_path / "cut").config.data.long_tail == 0.1


@pytest.mark.parametrize("method", ["rotnet", "instance"])
def test_the_other_methods_run(method: str, tmp_path: Path) -> None:
    settings = {name: value for name, value in QUICK.items() if name != "num_noise"}
    run = pretrain("digits", out=tmp_path / "run", **settings | {"method": method})
    measured = run.read_metrics("diagnostics")[-1]
    assert ("rotation_accuracy" in measured) == (method == "rotnet")
    assert ("rotation_loss" in measured) == (method == "rotnet")
    trained = run.read_metrics("train")[-1]
    assert ("rotation_accuracy" in trained) == (method == "rotnet")
    assert ("spread" in measured) == (method == "instance")
    assert "leakage_same_head" not in measured


def test_no_epochs_keep_the_untrained_backbone(tmp_path: Path) -> None:
    run = pretrain("digits", out=tmp_path / "run", **{**QUICK, "epochs": 0})
    assert run.read_metrics("train") == []
    assert load_backbone(run.path)(torch.rand(2, 3, 16, 16)).shape == (2, 256)
    assert (run.path / "report.html").exists()
    before = run.checkpoint.stat().st_mtime_ns
    resume(run.path)
    assert run.checkpoint.stat().st_mtime_ns == before


def test_a_batch_larger_than_the_data_shrinks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "pretrain digits --batch-size 4096 --epochs 1 --limit 40 --num-noise 8 --device cpu"
    words += " --no-diagnostics"
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 0
    assert "batch size 4096 is larger than the data: using 40" in capsys.readouterr().err
    assert Run.open(tmp_path / "run").config.run.batch_size == 40


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("pretrain digits --backbone vgg", "unknown backbone 'vgg'; there are alexnet"),
        ("pretrain digits --epochs -1", "--epochs is -1; expected 0"),
        ("pretrain digits --preset best", "unknown preset 'best'; there are digits, folder"),
        ("pretrain nowhere", "no data at 'nowhere'"),
        ("pretrain digits --limit 5", "--limit is 5; expected 8 or more"),
        ("pretrain digits --weight-decay -1", "--weight-decay is -1.0; expected 0 or more"),
        ("pretrain digits --embedding-dim 0", "--embedding-dim is 0; expected from 1 to 65,536"),
        ("pretrain digits --seed -1", "--seed is -1; expected from 0 to 1,000,000,000"),
        ("pretrain digits --diagnostics-every 0", "--diagnostics-every is 0; expected 1 or more"),
        ("pretrain digits --backbone alexnet", "alexnet needs images of 63 px or more, found 16"),
        ("pretrain digits --device tpu", "--device is 'tpu'; expected auto, cpu, cuda"),
        ("pretrain", "expected DATA"),
        ("pretrain --resume nowhere", "nowhere: there is no such run or file"),
        ("probe nowhere digits", "nowhere: there is no such run or file"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")] if words.startswith("pretrain digits") else []
    assert main([*words.split(), *out]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_an_existing_directory_is_not_touched(
    digits_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digits_run.checkpoint.read_bytes()
    with pytest.raises(ConfigError, match="exists; choose another --out"):
        pretrain("digits", out=digits_run.path, **QUICK)
    assert digits_run.checkpoint.read_bytes() == before

    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="no run directory"):
        pretrain("digits", out=tmp_path, overwrite=True, **QUICK)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_overwrite_deletes_an_earlier_run(digits_run: Run, tmp_path: Path) -> None:
    shutil.copytree(digits_run.path, tmp_path / "run")
    (tmp_path / "run" / "left-over").touch()
    settings = {**PLAIN, "epochs": 1}
    pretrain("digits", out=tmp_path / "run", overwrite=True, **settings)
    assert not (tmp_path / "run" / "left-over").exists()
    assert Run.open(tmp_path / "run").config.run.epochs == 1


def test_a_finished_run_is_left_as_it_is(digits_run: Run) -> None:
    def stamps() -> dict[Path, int]:
        files = [p for p in digits_run.path.rglob("*") if p.is_file() and p.name != LOCK]
        return {p: p.stat().st_mtime_ns for p in files}

    before = stamps()
    assert main(["pretrain", "--resume", str(digits_run.path)]) == 0
    assert stamps() == before


def test_changed_options_are_refused_by_name(
    digits_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", "--resume", str(digits_run.path), "--limit", "5", "--seed", "3"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "limit: 5 -> 120" in said
    assert "seed: 3 -> 0" in said
    same = ["pretrain", "--resume", str(digits_run.path), "--epochs", "2", "--workers", "0"]
    assert main(same) == 0


def test_changed_images_are_refused(tmp_path: Path, photos: Path) -> None:
    data = shutil.copytree(photos, tmp_path / "photos")
    settings = {**PLAIN, "image_size": 24, "backbone": "convnet", "workers": 0, "epochs": 1}
    run = pretrain(str(data), out=tmp_path / "run", **settings)
    Image.new("RGB", (30, 30)).save(data / "red" / "another.png")
    with pytest.raises(DataError, match="not those the run began with"):
        resume(run.path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no longer finite at step \d+ .*last good checkpoint"):
        pretrain(
            "digits",
            out=tmp_path / "run",
            optimizer="sgd",
            **{**QUICK, "epochs": 3},
            learning_rate=1e9,
            log_every=1,
        )
    state = tmp_path / "run" / "checkpoints" / "last.ckpt"
    if state.exists():
        weights = torch.load(state, weights_only=True)["network"]
        assert all(w.isfinite().all() for w in weights.values())


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, saved = checkpoint.torch.save, []

    def save(state: dict, file: object) -> None:
        saved.append(state["step"])
        if len(saved) == 2:
            raise OSError(28, "No space left on device")
        plain(state, file)

    monkeypatch.setattr(checkpoint.torch, "save", save)
    words = "pretrain digits --epochs 3 --limit 64 --batch-size 32 --num-noise 8 --device cpu"
    words += " --no-diagnostics"
    run = tmp_path / "run"
    assert main([*words.split(), "--out", str(run)]) == 2
    said = capsys.readouterr().err
    assert "No space left on device; free some space" in said
    assert "the previous checkpoint is whole" in said
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 2
    assert not list(run.glob("checkpoints/*.partial"))
    monkeypatch.undo()
    assert main(["pretrain", "--resume", str(run)]) == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 6


def test_a_shortened_log_is_noticed(digits_run: Run, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(digits_run.path, tmp_path / "run"))
    (run.path / "report.html").unlink()  # as if it had been cut off before its end
    run.metrics_file.write_text("")
    with pytest.raises(CheckpointError, match="shorter than when the checkpoint was written"):
        resume(run.path)


def test_collapse_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "pretrain digits --epochs 4 --limit 200 --batch-size 32 --num-noise 8 --device cpu "
        "--optimizer sgd --learning-rate 0.05 --weight-decay 0.5"
    )
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 0
    assert "the embeddings have collapsed" in capsys.readouterr().err
    assert "have collapsed" in write_report(Run.open(tmp_path / "run")).read_text()


def test_a_test_split_too_small_for_diagnostics(tmp_path: Path, photos: Path) -> None:
    shutil.copytree(photos / "red", tmp_path / "data" / "train")
    settings = {**QUICK, "image_size": 16, "backbone": "convnet", "workers": 0, "epochs": 1}
    (tmp_path / "data" / "val").mkdir()
    for number in range(2):  # none, then one image in the split
        run = pretrain(tmp_path / "data", out=tmp_path / str(number), **settings)
        assert run.read_metrics("diagnostics") == []
        shutil.copy(photos / "blue" / "00.png", tmp_path / "data" / "val" / "0.png")


def test_a_run_means_the_same_from_another_directory(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    settings = {**PLAIN, "image_size": 16, "backbone": "convnet", "workers": 0, "epochs": 1}
    run = pretrain(photos.name, out=tmp_path / "run", **settings)
    assert run.data == str(photos)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that CIFAR-10 would have been downloaded into; 20 images come in its place."""
    folders: list[Path] = []

    def fetch(url: str, root: Path, **_: object) -> None:
        folders.append(root)
        write_cifar(root, "cifar10", monkeypatch)

    monkeypatch.setattr(cifar, "download_and_extract_archive", fetch)
    return folders


def test_a_named_data_set_is_fetched_only_on_request(
    tmp_path: Path,
    fetched: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "pretrain cifar10:sets --preset digits --epochs 1 --num-noise 8 --device cpu"
    line += " --no-diagnostics"
    words = line.split()
    assert main(words) == 2
    assert "data_batch_1" in capsys.readouterr().err
    assert fetched == []
    assert main([*words, "--download"]) == 0
    assert [Path(folder).resolve() for folder in fetched] == [tmp_path / "sets"]
    run = Run.open("runs/cifar10-1")
    assert run.data == f"cifar10:{tmp_path / 'sets'}"
    assert main(words) == 0  # it is there now
    assert len(fetched) == 1

    monkeypatch.chdir("/")
    result = probe(tmp_path / run.path, run.data, kind="knn", seeds=1, download=True)
    assert result.test_images_learned_from == 0
    assert result.protocol["training_images"] == 20
    file = f"cifar10-sets-frozen-features-{result.protocol_id}.json"
    assert (tmp_path / run.path / "probes" / file).exists()
    assert len(fetched) == 1


@pytest.mark.parametrize(
    ("is_main", "download", "expected"),
    [
        (True, True, ["fetch", "barrier"]),
        (False, True, ["barrier", "open"]),
        (True, False, ["open"]),
        (False, False, ["open"]),
    ],
)
def test_one_process_fetches_for_all(
    is_main: bool, download: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def select(*_: object, download: bool, **others: object) -> None:
        calls.append("fetch" if download else "open")

    monkeypatch.setattr(preparation, "select_images", select)
    runtime = Runtime("cpu", "32-true")
    monkeypatch.setattr(runtime, "rank", 0 if is_main else 1)
    monkeypatch.setattr(runtime, "barrier", lambda: calls.append("barrier"))
    preparation.select_for_all("cifar10:sets", Config().with_settings(download=download), runtime)
    assert calls == expected


def test_a_probe_fetches_only_on_request(
    digits_run: Run, tmp_path: Path, fetched: list[Path]
) -> None:
    with pytest.raises(DataError, match="--download"):
        probe(digits_run.path, f"cifar10:{tmp_path}", kind="knn")
    assert fetched == []
    probe(digits_run.path, f"cifar10:{tmp_path}", kind="knn", seeds=1, download=True)
    assert fetched == [tmp_path]


def test_a_manifest_trains_as_its_folder_does(tmp_path: Path, photos: Path) -> None:
    names = sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
    rows = [f"{photos / name},{name.parent}" for name in names]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label", *rows]))
    settings = {**PLAIN, "image_size": 16, "backbone": "convnet", "workers": 0, "epochs": 1}
    runs = [
        pretrain(data, out=tmp_path / str(i), **settings)
        for i, data in enumerate([photos, tmp_path / "photos.csv"])
    ]
    states = [torch.load(run.checkpoint, weights_only=True)["network"] for run in runs]
    assert all(torch.equal(w, states[1][k]) for k, w in states[0].items())


def test_items_are_listed_although_the_run_is_stopped(tmp_path: Path, photos: Path) -> None:
    data = shutil.copytree(photos, tmp_path / "photos")
    for i in range(6):
        whole = (data / "red" / f"{i:02d}.png").read_bytes()
        (data / "red" / f"{i:02d}.png").write_bytes(whole[: len(whole) // 2])
    settings = {**QUICK, "image_size": 16, "backbone": "convnet", "workers": 0, "limit": 50}
    with pytest.raises(DataError, match="image files cannot be read"):
        pretrain(data, out=tmp_path / "run", **settings)
    with open(tmp_path / "run" / "items.csv", newline="") as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    assert len(statuses) == 60
    assert statuses.count("not used") == 10


def test_another_number_of_processes_is_refused(
    digits_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = digits_run.read_json("environment.json")
    monkeypatch.setattr(Run, "read_json", lambda *_: {**stored, "processes": 4})
    with pytest.raises(ConfigError, match=r"began with 4 processes .* Start 4 with torchrun"):
        resume(digits_run.path)


def test_no_warning_on_digits(digits_run: Run) -> None:
    assert "have collapsed" not in (digits_run.path / "report.html").read_text()
