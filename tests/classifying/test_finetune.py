from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn import (
    CheckpointError,
    ConfigError,
    DataError,
    finetune,
    load_backbone,
    pretrain,
    probe,
)
from quarterturn.classifying.finetune import resume_finetune
from quarterturn.cli import main
from quarterturn.data.sources import open_source
from quarterturn.data.train_test_split import TrainTestSplit, open_training_data
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.engine.loop import Training
from quarterturn.features.extraction import extract
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.presets import preset
from quarterturn.runs import Run, life_cycle
from quarterturn.runs.life_cycle import TrainingJob
from tests.fixtures.runs import QUICK

from ..engine.equality import assert_same_checkpoint, metrics_without_times
from ..engine.processes import as_group, kill_at_step, quarterturn

FAST = {"epochs": 2, "limit": 160, "batch_size": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """LDAM with deferred weights on digits made long-tailed, tested after each of 4 epochs."""
    (made,) = finetune(
        "digits",
        out=tmp_path_factory.mktemp("runs") / "digits",
        loss="ldam",
        reweight="drw",
        reweight_from=0.5,
        long_tail=0.1,
        protocol="paper",
        epochs=4,
        batch_size=64,
        diagnostics_every=1,
        device="cpu",
    )
    return made


def results_of(run: Run) -> dict:
    return run.read_json("results.json")


def test_results_hold_every_figure(run: Run) -> None:
    found = results_of(run)
    figures = found["figures"]
    confusion = np.array(figures["confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == figures["n"] == 450
    assert figures["top1"] == pytest.approx(np.trace(confusion) / 450)
    by_class = np.diag(confusion) / confusion.sum(axis=1)
    assert figures["balanced"] == pytest.approx(by_class.mean())
    assert figures["worst_class"] == pytest.approx(by_class.min())
    assert figures["std_over_classes"] == pytest.approx(by_class.std())
    counts = np.array(found["class_counts"])
    assert counts.tolist() == [133, 104, 80, 62, 48, 37, 29, 22, 17, 13]
    assert figures["many"] == pytest.approx(by_class[counts > 100].mean())
    assert figures["few"] == pytest.approx(by_class[counts < 20].mean())
    assert figures["top1"] > 0.3  # guessing gives a tenth


def test_calibration_is_of_scaled_cosines_without_margins(run: Run) -> None:
    images = open_source("digits").test
    cosines = extract(images, run.config.data, run.load_network()).values
    probabilities = torch.from_numpy(30 * cosines).softmax(dim=1).numpy()
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == images.labels
    error = 0.0
    for b in range(15):
        of_bin = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if of_bin.any():
            gap = abs(confidence[of_bin].mean() - right[of_bin].mean())
            error += of_bin.sum() / 450 * gap
    assert error > 0.01
    assert results_of(run)["figures"]["calibration_error"] == pytest.approx(error, abs=1e-4)


def test_reports_the_last_epoch_and_labels_the_best(run: Run) -> None:
    found, evaluated = results_of(run), run.read_metrics("evaluation")
    assert [line["epoch"] for line in evaluated] == [1, 2, 3, 4]
    assert found["epoch"] == 4
    assert found["figures"]["top1"] == evaluated[-1]["top1"]
    best = max(line["top1"] for line in evaluated)
    assert found["best_epoch"]["figures"]["top1"] == best
    assert found["best_epoch"]["evaluated_epochs"] == 4
    page = (run.path / "report.html").read_text()
    assert "paper protocol" in page
    assert "chosen by top-1 on the test images themselves" in page


def test_what_is_in_force_is_logged(run: Run) -> None:
    first, second = run.read_metrics("balance")
    assert (first["epoch"], second["epoch"]) == (0, 2)
    assert first["class_counts"] == results_of(run)["class_counts"]
    assert first["margins"][-1] == pytest.approx(0.5)
    assert first["margins"] == sorted(first["margins"])
    assert first["class_weights"] is None
    assert sum(second["class_weights"]) == pytest.approx(10, rel=1e-5)


def test_other_commands_read_the_run(run: Run) -> None:
    backbone = load_backbone(run.path)
    stored = torch.load(run.checkpoint, weights_only=True)["network"]
    loaded = backbone.network.state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in loaded.items())
    found = probe(run.path, "digits", kind="knn", seeds=1, limit=200, device="cpu")
    assert {score.part for score in found.scores} == {"whole"}


def test_it_starts_from_the_backbone_of_a_run(digits_run: Run, tmp_path: Path) -> None:
    (made,) = finetune(
        "digits",
        start=digits_run.path,
        out=tmp_path / "run",
        trained="none",
        solver="steps",
        **FAST,
    )
    assert made.start == str(digits_run.path.resolve())
    trained, begun = (r.load_network().backbone.state_dict() for r in (made, digits_run))
    assert all(torch.equal(trained[name], begun[name]) for name in begun)
    (moved,) = finetune("digits", start=digits_run.path, out=tmp_path / "whole", **FAST)
    weight = "stages.conv1.0.weight"
    assert not torch.equal(moved.load_network().backbone.state_dict()[weight], begun[weight])


def test_images_are_shown_as_the_run_saw_them(tmp_path: Path, digits_run: Run) -> None:
    small = pretrain("digits", out=tmp_path / "small", **{**QUICK, "epochs": 0, "image_size": 8})
    (made,) = finetune("digits", start=small.path, out=tmp_path / "run", **FAST)
    assert made.config.data.image_size == 8
    with pytest.raises(ConfigError, match="has a convnet for a backbone, and --backbone is nin"):
        finetune("digits", start=digits_run.path, out=tmp_path / "x", backbone="nin")


def test_reports_test_images_seen_in_pretraining(
    tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    data = write_npz(tmp_path / "a.npz", np.arange(100) % 2)
    settings = {**FAST, "preset": "cifar10-classifier", "image_size": 12, "crop_padding": 1}
    settings |= {"backbone": "convnet", "epochs": 1}
    (first,) = finetune(data, out=tmp_path / "first", **settings)
    assert results_of(first)["test_images_learned_from"] == 0
    settings.pop("image_size"), settings.pop("backbone")
    (second,) = finetune(data, start=first.path, out=tmp_path / "second", seed=1, **settings)
    split = open_training_data(data, first.config.data)
    shared = len(np.intersect1d(split.parts(0)[0], split.parts(1)[1]))
    assert 0 < shared < 20
    found = results_of(second)
    assert found["test_images_learned_from"] == found["test_images_learned_with_labels"] == shared
    words = f"the run it started from was trained on {shared} of the test images, with labels"
    assert words in (second.path / "report.html").read_text()
    out, err = terminal.readouterr()
    assert words in " ".join(err.split())
    assert words in " ".join(out.split())


def test_several_seeds_have_mean_and_spread(tmp_path: Path, capsys) -> None:
    words = "finetune digits --seeds 2 --seed 3 --epochs 1 --limit 160 --batch-size 32 --device cpu"
    assert main([*words.split(), "--out", str(tmp_path / "runs")]) == 0
    runs = [Run.open(tmp_path / "runs" / f"seed-{seed}") for seed in (3, 4)]
    tops = [results_of(run)["figures"]["top1"] for run in runs]
    summary = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert summary["seeds"] == [3, 4]
    found = summary["figures"]["top1"]
    assert found["values"] == tops
    assert found["mean"] == pytest.approx(np.mean(tops))
    assert found["spread"] == pytest.approx(np.std(tops, ddof=1))
    assert summary["tested"] == [160, 160]
    shown = capsys.readouterr().out
    assert "over seeds 3 to 4" in shown
    note = " ".join(shown.split())
    assert "160 test images: the split 'test'; many: classes of more than 100 training" in note
    assert f"{100 * np.mean(tops):.1f}" in shown
    assert main([*words.split(), "--out", str(tmp_path / "runs")]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.fixture
def tiny(tmp_path: Path) -> dict:
    """The data and the settings of a training that takes no time: 100 images in two classes."""
    data = write_npz(tmp_path / "a.npz", np.arange(100) % 2)
    settings = {"preset": "digits-classifier", "image_size": 12, "crop_padding": 1, "holdout": 0.2}
    return {"data": data, **settings, "epochs": 1, "device": "cpu"}


def test_the_recipe_goes_by_the_images_of_the_start(digits_run: Run, tmp_path: Path) -> None:
    common = {"out": tmp_path / "run", "start": digits_run.path, "dry_run": True, "device": "cpu"}
    (small,) = finetune("digits", **common)
    assert small.config.optimizer.learning_rate == 3e-3
    (given,) = finetune("digits", preset="pretrained-classifier", **common)
    assert given.config.optimizer.learning_rate == 3e-4
    assert not (tmp_path / "run").exists()


def test_several_seeds_resume_and_start_missing_ones(tmp_path: Path, tiny: dict) -> None:
    out = tmp_path / "runs"
    runs = finetune(out=out, seeds=3, seed=1, **tiny)
    summary = (out / "results.json").read_bytes()
    whole = [run.read_json("results.json") for run in runs]
    kept = runs[0].checkpoint.stat().st_mtime_ns
    # As if it had been interrupted in the second training, before its first checkpoint.
    (out / "results.json").unlink()
    for run in runs[1:]:
        for file in (run.checkpoint, run.path / "results.json", run.metrics_file):
            file.unlink()
    assert main(["finetune", "--resume", str(out)]) == 0
    assert [run.read_json("results.json") for run in runs] == whole
    assert (out / "results.json").read_bytes() == summary
    assert runs[0].checkpoint.stat().st_mtime_ns == kept
    with pytest.raises(ConfigError, match=r"batch_size: 8 -> \d+ "):
        resume_finetune(out, config=runs[0].config.with_settings(batch_size=8))


def test_overwrite_leaves_no_earlier_seed(tmp_path: Path, tiny: dict) -> None:
    tiny["epochs"] = 0
    finetune(out=tmp_path / "runs", seeds=3, **tiny)
    with pytest.raises(ConfigError, match="exists; choose another --out"):
        finetune(out=tmp_path / "runs", seeds=2, **tiny)
    finetune(out=tmp_path / "runs", seeds=2, overwrite=True, **tiny)
    left = sorted(file.name for file in (tmp_path / "runs").iterdir())
    assert left == ["results.json", "seed-0", "seed-1"]


def test_labels_that_have_changed_are_noticed(tmp_path: Path, tiny: dict) -> None:
    with np.load(tiny["data"]) as archive:
        pixels = archive["train_images"]
    arrays = {"train_images": pixels, "test_images": pixels[:8], "test_labels": np.arange(8) % 2}
    np.savez(tiny["data"], train_labels=np.arange(100) % 2, **arrays)
    (run,) = finetune(out=tmp_path / "run", **tiny)
    resume_finetune(run.path)
    np.savez(tiny["data"], train_labels=np.arange(100) // 50, **arrays)
    with pytest.raises(DataError, match=r"labels of .* are not those the run began with"):
        resume_finetune(run.path)


def test_the_run_that_it_begins_with_is_not_overwritten(tmp_path: Path, tiny: dict) -> None:
    (first,) = finetune(out=tmp_path / "first", **tiny)
    runs = finetune(out=tmp_path / "runs", seeds=2, **tiny)
    for start, out, seeds in [(first, first.path, 1), (runs[1], tmp_path / "runs", 2)]:
        with pytest.raises(ConfigError, match="--overwrite would delete"):
            finetune(start=start.path, out=out, seeds=seeds, overwrite=True, **tiny)
    assert all(run.checkpoint.exists() for run in (first, *runs))


def test_an_unusable_start_leaves_no_directory(tmp_path: Path, tiny: dict) -> None:
    begun = Run(tmp_path / "begun", "digits", preset("digits"), "abc")
    begun.create()
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        finetune(start=begun.path, out=tmp_path / "run", **tiny)
    config = preset("digits").with_settings(backbone="alexnet", image_size=64)
    alexnet = Run(tmp_path / "alexnet", "digits", config, "abc")
    alexnet.create()
    state = {"network": alexnet.untrained_network().state_dict(), "epochs_done": 0.0}
    save_checkpoint(alexnet.checkpoint, state)
    convnet = pretrain("digits", out=tmp_path / "convnet", **{**QUICK, "epochs": 0})
    with pytest.raises(ConfigError, match=r"trained at 16 px, .* does not fit --image-size 24"):
        finetune(start=convnet.path, out=tmp_path / "run", **{**tiny, "image_size": 24})
    with pytest.raises(ConfigError, match="--holdout is 0, and this data has no test split"):
        finetune(out=tmp_path / "run", **{**tiny, "holdout": 0.0})
    tiny |= {"image_size": 128}
    with pytest.raises(ConfigError, match=r"trained at 64 px, .*fc6.* --image-size 128"):
        finetune(start=alexnet.path, out=tmp_path / "run", **tiny)
    assert not (tmp_path / "run").exists()


def command(rank: int, words: list[str]) -> None:
    """Run a command as one of several processes."""
    sys.exit(main(words))


def test_two_processes_train_several_seeds(tmp_path: Path, tiny: dict) -> None:
    words = (
        f"finetune {tiny['data']} --preset digits-classifier --image-size 12 --holdout 0.2 "
        f"--epochs 1 --device cpu --seeds 2 --out {tmp_path / 'runs'}"
    ).split()
    as_group(2, command, words)
    summary = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert summary["seeds"] == [0, 1]
    assert Run.open(tmp_path / "runs" / "seed-1").epochs_done() == 1


def test_wiring_of_groups_adjustment_and_resampling(
    tmp_path: Path, tiny: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a setting asks for is what the training is given, and what its tests go by."""
    given: list[Training] = []
    plain = life_cycle.prepare

    def prepare(job: TrainingJob) -> Training:
        given.append(plain(job))
        return given[-1]

    monkeypatch.setattr(life_cycle, "prepare", prepare)
    labels = np.array([0] * 30 + [1] * 40 + [2] * 50)
    tiny |= {"data": write_npz(tmp_path / "b.npz", labels), "out": tmp_path / "run"}
    settings = {"resample": "balanced", "post_hoc_adjustment": 0.75, "many": 36, "few": 25}
    (run,) = finetune(**tiny, **settings)
    network = run.load_network()
    assert isinstance(network, ClassifierNetwork)
    assert network.post_hoc_adjustment == 0.75
    assert given[0].method.network.post_hoc_adjustment == 0.75

    found = results_of(run)
    assert found["class_counts"] == [24, 32, 40]
    figures = found["figures"]
    few, medium, many = figures["per_class"].values()
    assert (figures["few"], figures["medium"], figures["many"]) == (few, medium, many)

    split = TrainTestSplit.of(open_training_data(str(tiny["data"]), run.config.data), 0).train
    by_class = [given[0].batches.chances.numpy()[split.labels == c].sum() for c in range(3)]
    np.testing.assert_allclose(by_class / sum(by_class), np.full(3, 1 / 3), rtol=1e-6)


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    words = (
        "finetune",
        "digits",
        "--epochs",
        3,
        "--limit",
        160,
        "--batch-size",
        32,
        "--device",
        "cpu",
        "--loss",
        "ldam",
        "--reweight",
        "drw",
        "--resample",
        "balanced",
        "--checkpoint-every",
        3,
        "--log-every",
        2,
    )
    assert quarterturn(*words, "--out", tmp_path / "whole", log=tmp_path / "log") == 0
    killed = (*words, "--out", tmp_path / "cut")
    assert quarterturn(*killed, log=tmp_path / "log2", sabotage=(kill_at_step, 9)) == -9
    assert quarterturn("finetune", "--resume", tmp_path / "cut", log=tmp_path / "log3") == 0
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "cut")
    assert metrics_without_times(tmp_path / "whole") == metrics_without_times(tmp_path / "cut")
    results = [(tmp_path / name / "results.json").read_text() for name in ("whole", "cut")]
    assert results[0] == results[1]


def test_a_finished_run_is_left_as_it_is(run: Run) -> None:
    before = run.checkpoint.stat().st_mtime_ns, (run.path / "results.json").read_bytes()
    resume_finetune(run.path)
    assert before == (run.checkpoint.stat().st_mtime_ns, (run.path / "results.json").read_bytes())


def write_npz(path: Path, labels: np.ndarray, tests: np.ndarray | None = None) -> str:
    """Noise with labels to learn from, and perhaps to test on."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, of_split in {"train": labels, "test": tests}.items():
        if of_split is not None:
            shape = (len(of_split), 12, 12, 3)
            arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = of_split
    np.savez(path, **arrays)
    return str(path)


def test_counts_unreadable_test_images_and_stops_at_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for split, number in {"train": 10, "test": 5}.items():
        for name in ("ant", "bee"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
                if split == "test" and i < 2:  # the header stays, the picture ends half way
                    whole = (folder / f"{i}.jpg").read_bytes()
                    (folder / f"{i}.jpg").write_bytes(whole[: len(whole) // 2])
    words = f"finetune {tmp_path / 'photos'} --backbone convnet --image-size 16 --epochs 1"
    words += " --batch-size 10 --device cpu --workers 0"
    assert main([*words.split(), "--out", str(tmp_path / "run")]) == 2
    assert "4 of 10 image files cannot be read (40.0%; the limit" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results.json").exists()
    # What the message advises goes on with the training that it has stopped.
    lenient = ["finetune", "--resume", str(tmp_path / "run"), "--max-bad-fraction", "0.5"]
    assert main(lenient) == 0
    assert "6 test images: the split 'test'" in " ".join(capsys.readouterr().out.split())
    with open(tmp_path / "run" / "items.csv", newline="") as file:
        status = {row["path"]: row["status"] for row in csv.DictReader(file)}
    # Training images of the same names have been learned from.
    assert status["ant/0.jpg"] == "trained on"
    assert len(status) == 24
    for name in ("test/ant/0.jpg", "test/ant/1.jpg", "test/bee/0.jpg", "test/bee/1.jpg"):
        assert "truncated" in status[name]


def test_reports_classes_without_test_images(tmp_path: Path, tiny: dict) -> None:
    tiny["data"] = write_npz(tmp_path / "b.npz", np.array([0] * 30 + [1] * 30 + [2] * 2))
    (run,) = finetune(out=tmp_path / "run", **tiny)
    assert results_of(run)["figures"]["per_class"]["2"] is None
    words = "1 of 3 classes have no test image, and are in no figure: 2"
    assert words in " ".join((run.path / "report.html").read_text().split())


def test_a_start_without_epochs_is_not_called_untrained(tmp_path: Path, tiny: dict) -> None:
    (first,) = finetune(out=tmp_path / "first", **tiny)
    (made,) = finetune(out=tmp_path / "made", start=first.path, **{**tiny, "epochs": 0})
    assert not made.untrained
    page = (made.path / "report.html").read_text()
    assert "no epoch was trained here" in page
    assert "what its random weights give" not in page


def test_reports_an_unfinished_start(
    tmp_path: Path, tiny: dict, terminal: pytest.CaptureFixture[str]
) -> None:
    (first,) = finetune(out=tmp_path / "first", **tiny)
    state = torch.load(first.checkpoint, weights_only=True)
    torch.save({**state, "epochs_done": 0.5}, first.checkpoint)
    finetune(out=tmp_path / "made", start=first.path, **tiny)
    assert "first has done 0.5 of its 1 epoch so far" in " ".join(terminal.readouterr().err.split())


def test_a_class_without_images_is_refused_or_left_out(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "a.npz", np.array([0] * 30 + [2] * 30), np.array([0, 1, 2] * 5))
    settings = {"image_size": 12, "backbone": "convnet", "preset": "digits-classifier", **FAST}
    settings |= {"epochs": 1, "loss": "ldam"}
    with pytest.raises(
        DataError, match="no training image of 1 of the 3 classes: 1; leave them out"
    ):
        finetune(data, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    (made,) = finetune(data, out=tmp_path / "run", leave_out_empty=True, **settings)
    figures = results_of(made)["figures"]
    assert figures["n"] == 10  # class 1 can never be right, so nothing is said of it
    assert np.array(figures["confusion"])[:, 1].sum() == 0
    assert figures["per_class"]["1"] is None
    assert figures["worst_class_name"] != "1"
    assert "left out: 5 test images of classes without training" in results_of(made)["test"]


def test_holds_out_a_stratified_part_without_a_test_split(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "a.npz", np.arange(100) % 2)
    (made,) = finetune(
        data,
        out=tmp_path / "run",
        preset="cifar10-classifier",
        backbone="convnet",
        image_size=12,
        epochs=1,
        batch_size=40,
        device="cpu",
    )
    found = results_of(made)
    assert found["class_counts"] == [40, 40]
    assert found["figures"]["n"] == 20
    assert "a stratified 20% held out by seed" in found["test"]
    statuses = (made.path / "items.csv").read_text()
    assert statuses.count(",held out") == 20


def test_pretrain_and_finetune_know_their_own(run: Run, digits_run: Run, capsys) -> None:
    assert main(["pretrain", "--resume", str(run.path)]) == 2
    assert "is a run of finetune" in capsys.readouterr().err
    assert main(["finetune", "--resume", str(digits_run.path)]) == 2
    assert "is a run of pretrain" in capsys.readouterr().err
    assert main(["pretrain", "digits", "--preset", "cifar10-lt-ldam"]) == 2
    assert "quarterturn finetune" in capsys.readouterr().err


def test_folders_without_labels_are_refused(tmp_path: Path, photos: Path, capsys) -> None:
    words = ["finetune", str(photos / "red"), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "has no labels" in capsys.readouterr().err
