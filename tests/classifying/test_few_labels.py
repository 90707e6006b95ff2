"""Few labels: classifiers that are solved exactly, trainings that are too short, and guessing."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quarterturn import ConfigError, DataError, embed, export, finetune, predict
from quarterturn.classifying.cautions import near_chance, too_few_steps
from quarterturn.classifying.finetune import resume_finetune
from quarterturn.classifying.results import summarise_seeds
from quarterturn.classifying.solved_classifier import is_solved, with_solver
from quarterturn.data.sources import open_source
from quarterturn.data.train_test_split import TrainTestSplit, open_training_data
from quarterturn.files import write_json
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.metrics.classification import guessing_accuracy
from quarterturn.presets import preset
from quarterturn.probing.few_shot import few_shot_classifier
from quarterturn.probing.linear import linear_classifiers
from quarterturn.runs import Run
from quarterturn.runs.classifier_results import Solution, read_classifier_result
from tests.data.pictures import truncate

FROZEN: dict[str, Any] = {"trained": "none", "device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def solved(digits_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five labelled digits of each class, on the features of a run."""
    out = tmp_path_factory.mktemp("solved") / "run"
    (made,) = finetune("digits", start=digits_run.path, out=out, per_class=5, **FROZEN)
    return made


def features_of(run: Run, out: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Split to features, as ``embed`` writes them, and labels."""
    embed(run.path, "digits", out=out, half="both", device="cpu")
    with np.load(out) as found:
        rows = {split: found["splits"] == split for split in ("train", "test")}
        return {split: (found["embeddings"][of], found["labels"][of]) for split, of in rows.items()}


class TestSolved:
    """Logistic regression on frozen features, in the place of a training."""

    def test_it_is_what_scikit_learn_finds(self, solved: Run, digits_run: Run, tmp_path: Path):
        features = features_of(digits_run, tmp_path / "features.npz")
        (values, labels), (tests, truth) = features["train"], features["test"]
        data = open_training_data("digits", solved.config.data)
        names = TrainTestSplit.of(data, 0, per_class=5).train.names
        rows = [open_source("digits").train.names.index(name) for name in names]
        classifier, strength = few_shot_classifier(values[rows], labels[rows])
        result = read_classifier_result(solved.path)
        assert result.solution is not None
        assert (result.solution.strength, result.solution.images) == (strength, 50)
        expected = classifier.predict_proba(tests)
        logits = solved.load_network().classifier(torch.from_numpy(tests))
        np.testing.assert_allclose(logits.softmax(dim=1).detach(), expected, atol=1e-5)
        assert result.figures["top1"] == np.mean(classifier.predict(tests) == truth)
        assert result.figures["top1"] > 0.5

    def test_the_backbone_stays(self, solved: Run, digits_run: Run):
        made, begun = (run.load_network().backbone.state_dict() for run in (solved, digits_run))
        assert all(torch.equal(made[name], begun[name]) for name in begun)

    def test_its_page_says_how(self, solved: Run):
        page = " ".join((solved.path / "report.html").read_text().split())
        assert "Its classifier was solved, not trained" in page
        assert "no epoch was trained here" not in page
        assert (solved.config.run.epochs, solved.read_metrics("train")) == (0, [])

    def test_other_commands_take_it(self, solved: Run, tmp_path: Path):
        labels = predict(solved.path, "digits", out=tmp_path / "labels.csv", device="cpu")
        lines = csv.DictReader(labels.read_text().splitlines())
        rows = [row for row in lines if row["split"] == "test"]
        truth = open_source("digits").test
        by_name = dict(zip(truth.names, truth.labels.tolist(), strict=True))
        hits = np.mean([int(row["label"]) == by_name[row["name"]] for row in rows])
        assert hits == pytest.approx(read_classifier_result(solved.path).figures["top1"])
        export(solved.path, format="safetensors")
        (card,) = solved.path.rglob("*.md")
        assert "solved exactly, on frozen features" in card.read_text()

    def test_finished_it_stays_and_interrupted_it_is_solved_again(self, solved: Run):
        results, weight = solved.path / "results.json", solved.load_network().classifier.weight
        before = results.read_text(), solved.checkpoint.read_bytes()
        resume_finetune(solved.path)
        assert (results.read_text(), solved.checkpoint.read_bytes()) == before
        results.unlink()
        resume_finetune(solved.path)
        assert results.read_text() == before[0]
        torch.testing.assert_close(solved.load_network().classifier.weight, weight, rtol=0, atol=0)

    def test_several_labels_have_a_regression_for_each_class(
        self, voc_tree: Path, digits_run: Run, tmp_path: Path
    ):
        data = f"voc:{voc_tree}"
        (made,) = finetune(data, start=digits_run.path, out=tmp_path / "run", **FROZEN)
        file = embed(digits_run.path, data, out=tmp_path / "x.npz", half="both", device="cpu")
        with np.load(file) as found:
            values, sets, splits = (found[name] for name in ("embeddings", "labels", "splits"))
        train, tests = splits == "train", values[splits != "train"]
        classifiers = linear_classifiers(values[train], sets[train])
        logits = made.load_network().classifier(torch.from_numpy(tests))
        np.testing.assert_allclose(logits.detach(), classifiers.predict(tests), atol=1e-4)
        result = read_classifier_result(made.path)
        assert result.solution == Solution(1.0, int(train.sum()), is_chosen=False)
        assert "with C 1 for each class" in (made.path / "report.html").read_text()

    def test_several_seeds_are_called_solved(self, solved: Run, tmp_path: Path, terminal: Any):
        summarise_seeds(tmp_path, [solved, solved])
        out = terminal.readouterr().out
        assert "solved" in out
        assert "last epoch" not in out

    def test_files_that_cannot_be_decoded_are_left_out(
        self, photos: Path, digits_run: Run, tmp_path: Path
    ):
        copy = shutil.copytree(photos, tmp_path / "photos")
        broken = truncate(next((copy / "red").iterdir()))
        given = {"start": digits_run.path, "max_bad_fraction": 0.2, **FROZEN}
        (made,) = finetune(copy, out=tmp_path / "run", **given)
        result = read_classifier_result(made.path)
        assert result.solution is not None
        assert result.solution.images + result.figures["n"] == len(list(copy.rglob("*.png"))) - 1
        rows = csv.DictReader((made.path / "items.csv").read_text().splitlines())
        status = {Path(row["path"]).name: row["status"] for row in rows if "red" in row["path"]}
        assert status[broken.name].startswith("unreadable")

    def test_a_training_begins_with_the_solution(
        self, solved: Run, digits_run: Run, tmp_path: Path
    ):
        given = {"start": digits_run.path, "per_class": 5, "device": "cpu", "workers": 0}
        rates = {"learning_rate": 1e-9, "weight_decay": 0.0, "frozen_statistics": True}
        (made,) = finetune("digits", out=tmp_path / "run", epochs=1, **given, **rates)
        assert made.config.method_as(ClassifierOptions).classifier_init == "solved"
        heads = [run.load_network().classifier for run in (made, solved)]
        torch.testing.assert_close(heads[0].weight, heads[1].weight, rtol=1e-4, atol=1e-4)
        figures = read_classifier_result(made.path)
        assert figures.solution is None
        assert figures.figures["top1"] == read_classifier_result(solved.path).figures["top1"]

    def test_a_cosine_head_begins_with_mean_directions(self, digits_run: Run, tmp_path: Path):
        given = {"start": digits_run.path, "per_class": 5, "device": "cpu", "workers": 0}
        rates = {"learning_rate": 1e-9, "weight_decay": 0.0, "frozen_statistics": True}
        (made,) = finetune("digits", out=tmp_path / "run", epochs=1, loss="ldam", **given, **rates)
        values, labels = features_of(digits_run, tmp_path / "features.npz")["train"]
        names = TrainTestSplit.of(
            open_training_data("digits", made.config.data), 0, per_class=5
        ).train.names
        rows = [open_source("digits").train.names.index(name) for name in names]
        directions = values[rows] / np.linalg.norm(values[rows], axis=1, keepdims=True)
        means = np.stack([directions[labels[rows] == c].mean(axis=0) for c in range(10)])
        expected = means / np.linalg.norm(means, axis=1, keepdims=True)
        found = made.load_network().classifier.weight.detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_nothing_trained_has_no_solution(self, tmp_path: Path):
        with pytest.raises(ConfigError, match=r"--classifier-init solved begins .* give --from"):
            finetune("digits", out=tmp_path / "run", classifier_init="solved")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("counts", [[12, 1, 5], [30, 4], [1, 1, 1], [3, 1]])
    def test_classes_may_be_unequal(self, counts: list[int], rng: np.random.Generator):
        labels = np.repeat(np.arange(len(counts)), counts)
        values = rng.normal(size=(len(labels), 40)).astype(np.float32)
        values[np.arange(len(labels)), labels] += 8
        classifier, _ = few_shot_classifier(values, labels)
        assert (classifier.predict(values) == labels).mean() > 0.9

    @pytest.mark.parametrize(
        "settings",
        [
            {"solver": "steps"},
            {"loss": "focal"},
            {"reweight": "always"},
            {"resample": "balanced"},
            {"protocol": "paper"},
            {"trained": "whole"},
            {"epochs": 0},
        ],
    )
    def test_these_are_trained_by_steps(self, settings: dict[str, Any]):
        config = preset("folder-classifier").with_settings(**{"trained": "none", **settings})
        assert with_solver(config, [np.full(3, 20)], has_start=True) == config

    def test_many_images_are_trained_by_steps_unless_asked(self):
        config = preset("folder-classifier").with_settings(trained="none")
        few, many = [np.array([99, 2])], [np.array([99, 2]), np.array([100, 2])]
        assert is_solved(with_solver(config, few, has_start=True))
        for counts, has_start in [(many, True), (few, False)]:
            assert with_solver(config, counts, has_start=has_start) == config
            asked = config.with_settings(solver="exact")
            solved = with_solver(asked, counts, has_start=has_start)
            assert (is_solved(solved), solved.run.epochs) == (True, 0)

    def test_exact_is_refused_where_it_cannot_be(self):
        config = preset("folder-classifier").with_settings(solver="exact", loss="ldam")
        words = "expected --trained none, --loss cross-entropy, found --trained whole, --loss ldam"
        with pytest.raises(ConfigError, match=words):
            with_solver(config, [np.full(3, 20)], has_start=True)

    def test_two_classes_have_two_logits_and_epochs_no_effect(
        self, make_two: Path, digits_run: Run, tmp_path: Path, terminal: Any
    ):
        given = {"start": digits_run.path, "out": tmp_path / "run", **FROZEN}
        (made,) = finetune(make_two, epochs=15, **given)
        weight = made.load_network().classifier.weight
        torch.testing.assert_close(weight[0], -weight[1])
        assert read_classifier_result(made.path).figures["top1"] == 1
        told = " ".join(terminal.readouterr().err.split())
        assert "--epochs 15 has no effect: the classifier is solved exactly" in told
        assert "the classifier is solved exactly, not trained: logistic regression" in told


@pytest.fixture
def make_two(tmp_path: Path, rng: np.random.Generator) -> Path:
    """24 dark and 16 bright images, with labels."""
    labels = np.repeat([0, 1], [24, 16])
    levels = 40 + 150 * labels[:, None, None]
    pixels = np.clip(levels + rng.normal(0, 8, (40, 16, 16)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "two.npz", train_images=pixels, train_labels=labels)
    return tmp_path / "two.npz"


class TestTooFewSteps:
    """A training of fewer than 300 steps is said to be short."""

    def test_it_proposes_enough_epochs(self):
        words = too_few_steps(15, 1, is_frozen=True)
        assert "15 epochs of 1 step are too short a training" in words
        assert "--epochs 300; or --solver exact" in words
        assert "--epochs 38" in too_few_steps(5, 8)
        assert "--solver" not in too_few_steps(5, 8)

    @pytest.mark.parametrize(("epochs", "steps"), [(300, 1), (38, 8), (0, 4)])
    def test_enough_and_none_are_no_mistake(self, epochs: int, steps: int):
        assert too_few_steps(epochs, steps) == ""

    def test_it_is_on_terminal_page_and_in_results(
        self, make_two: Path, digits_run: Run, tmp_path: Path, terminal: Any
    ):
        (made,) = finetune(
            make_two, start=digits_run.path, out=tmp_path / "run", device="cpu", epochs=2
        )
        words = "2 epochs of 1 step are too short a training to learn from"
        assert words in " ".join(terminal.readouterr().err.split())
        assert words in " ".join((made.path / "report.html").read_text().split())
        assert read_classifier_result(made.path).warnings[0].startswith(words)


class TestGuessing:
    """A test that cannot tell the classifier from guessing is no success."""

    def test_guessing_follows_the_predictions(self):
        assert guessing_accuracy(np.array([[30, 0], [10, 0]])) == 0.75
        assert guessing_accuracy(np.array([[10, 10], [10, 10]])) == 0.5
        assert guessing_accuracy(np.full((4, 4), 3)) == 0.25

    @pytest.mark.parametrize(
        ("confusion", "is_guessing"),
        [
            ([[90, 10], [10, 90]], False),
            ([[100, 0], [100, 0]], True),
            ([[53, 47], [47, 53]], True),
            ([[62, 38], [40, 60]], False),
            ([[3, 1], [1, 3]], True),  # 75 % of eight images says nothing
            ([[950, 0], [40, 10]], False),  # above the largest class by its rare finds
        ],
    )
    def test_two_standard_errors(self, confusion: list[list[int]], is_guessing: bool):
        table = np.array(confusion)
        figures = {"confusion": confusion, "n": int(table.sum())}
        figures["top1"] = float(np.trace(table) / table.sum())
        assert bool(near_chance(figures)) == is_guessing

    def test_sets_of_labels_are_not_judged(self):
        assert near_chance({"mean_ap": 0.1, "n": 100}) == ""

    def test_it_is_said_wherever_the_figure_is(
        self, digits_run: Run, tmp_path: Path, rng: np.random.Generator, terminal: Any
    ):
        pixels = rng.integers(0, 255, (200, 16, 16)).astype(np.uint8)
        labels = np.arange(200) % 2
        np.savez(tmp_path / "noise.npz", train_images=pixels, train_labels=labels)
        data = tmp_path / "noise.npz"
        (made,) = finetune(data, start=digits_run.path, out=tmp_path / "run", **FROZEN)
        words = "is no better than guessing"
        assert words in " ".join(terminal.readouterr().err.split())
        assert words in " ".join((made.path / "report.html").read_text().split())
        assert words in read_classifier_result(made.path).warnings[-1]
        predict(made.path, data, out=tmp_path / "labels.csv", device="cpu")
        assert words in " ".join(terminal.readouterr().err.split())


def test_results_of_earlier_versions_are_read(solved: Run, tmp_path: Path) -> None:
    stored = solved.read_json("results.json")
    former = {name: stored[name] for name in stored if name not in ("solution", "warnings")}
    write_json(tmp_path / "results.json", former)
    found = read_classifier_result(tmp_path)
    assert (found.solution, found.warnings) == (None, ())


def test_images_of_one_class_are_refused(digits_run: Run, tmp_path: Path) -> None:
    labels = np.array([0] * 9 + [1])
    pixels = np.zeros((10, 16, 16), np.uint8)
    np.savez(tmp_path / "one.npz", train_images=pixels, train_labels=labels * 0)
    with pytest.raises(DataError, match="only one class"):
        finetune(tmp_path / "one.npz", start=digits_run.path, out=tmp_path / "run", **FROZEN)
