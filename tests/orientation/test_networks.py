from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import quarterturn.engine.loop as loop
import quarterturn.orientation.networks as networks
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.views import list_views
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.orientation.ablation import gather_table
from quarterturn.orientation.folds import split_into_folds
from quarterturn.orientation.networks import FoldOutcome, FoldTraining, fold_run, stopped_checkpoint
from quarterturn.orientation.temperature import fit_temperature, mean_probabilities, rotation_nll
from quarterturn.orientation.view_logits import view_logits
from quarterturn.runs import Run

from ..data.pictures import photo
from ..engine.equality import assert_same, assert_same_checkpoint, metrics_without_times
from ..engine.processes import quarterturn as command
from .conftest import fit_folds, quick

THREE_EPOCHS = quick(epochs=3, patience=1.0)
Fitted = tuple[Run, list[FoldOutcome], list[ImageSet]]


@pytest.fixture(scope="module")
def fitted(copied_digits: ArrayImages, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A run of two folds, what its networks say, and the images that each was trained on."""
    trained_on: list[ImageSet] = []
    plain = networks.train

    def spy(job: FoldTraining) -> Training:
        trained_on.append(job.images)
        return plain(job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "train", spy)
        path = tmp_path_factory.mktemp("folds") / "run"
        run, outcomes = fit_folds(path, copied_digits, THREE_EPOCHS)
    return run, outcomes, trained_on


def contents(images: ArrayImages) -> set[bytes]:
    return {pixels.tobytes() for pixels in images.pixels}


class TestFolds:
    def test_every_image_is_scored_once(self, fitted: Fitted) -> None:
        _, outcomes, _ = fitted
        numbers = np.concatenate([outcome.numbers for outcome in outcomes])
        assert sorted(numbers.tolist()) == list(range(50))
        for outcome in outcomes:
            assert outcome.logits.shape == (len(outcome.numbers), 5, 4, 4)  # digits do not mirror
            assert outcome.last_logits.shape == (len(outcome.numbers), 1, 4, 4)

    def test_no_network_has_seen_what_it_scores_nor_a_copy(
        self, fitted: Fitted, copied_digits: ArrayImages
    ) -> None:
        run, outcomes, trained_on = fitted
        assert len(trained_on) == 2
        for number, (outcome, images) in enumerate(zip(outcomes, trained_on, strict=True)):
            seen, asked = contents(images), contents(copied_digits.subset(outcome.numbers))
            assert not seen & asked
            assert len(seen | asked) < 40  # validation is a third part
            assert Run.open(fold_run(run.path, number)).fingerprint == images.fingerprint()
            assert len(images) + len(outcome.numbers) == 50 - len(outcome.validation_logits)

    def test_images_seen_are_of_the_training(
        self, fitted: Fitted, copied_digits: ArrayImages
    ) -> None:
        _, outcomes, trained_on = fitted
        for outcome, images in zip(outcomes, trained_on, strict=True):
            assert sorted(copied_digits.names[i] for i in outcome.seen_numbers) == sorted(
                images.names
            )
            assert outcome.seen_logits.shape == (len(images), 1, 4, 4)

    def test_uses_at_most_n_seen_images(
        self, copied_digits: ArrayImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(networks, "MOST_IN_FOLD", 5)
        config = quick(epochs=1, view_crops=1)
        _, outcomes = fit_folds(tmp_path / "run", copied_digits, config)
        folds = split_into_folds(copied_digits, 2, validation=0.1)
        for outcome, fold in zip(outcomes, folds, strict=True):
            assert len(outcome.seen_numbers) == 5
            assert set(outcome.seen_numbers.tolist()) < set(fold.train.tolist())
            assert outcome.seen_numbers.tolist() != fold.train[:5].tolist()

    def test_the_stored_networks_say_so_again(
        self, fitted: Fitted, copied_digits: ArrayImages
    ) -> None:
        run, outcomes, _ = fitted
        crop = run.config.data
        views = list_views(crop, 5)
        folds = split_into_folds(copied_digits, 2, validation=0.1, seed=run.config.run.seed)
        for number, (outcome, fold) in enumerate(zip(outcomes, folds, strict=True)):
            of_fold = Run.open(fold_run(run.path, number))
            stopped = of_fold.load_network(stopped_checkpoint(of_fold))
            last = of_fold.load_network()
            for network, where, asked, found in [
                (stopped, outcome.numbers, views, outcome.logits),
                (last, outcome.numbers, views[:1], outcome.last_logits),
                (stopped, outcome.seen_numbers, views[:1], outcome.seen_logits),
                (stopped, fold.validation, views, outcome.validation_logits),
            ]:
                _, logits = view_logits(network, copied_digits.subset(where), crop, asked)
                torch.testing.assert_close(found, logits, rtol=0, atol=1e-4)

    def test_a_finished_fold_is_only_read(
        self, fitted: Fitted, copied_digits: ArrayImages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, outcomes, _ = fitted

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a finished fold was trained again")

        monkeypatch.setattr(networks, "train", refuse)
        _, again = fit_folds(run.path, copied_digits, run.config)
        for one, other in zip(outcomes, again, strict=True):
            assert_same(vars_of(one), vars_of(other), "outcome")

    def test_only_rotnet_is_trained(self, copied_digits: ArrayImages, tmp_path: Path) -> None:
        config = quick().with_settings(method="decoupling")
        with pytest.raises(ConfigError, match="trains rotnet, not decoupling"):
            fit_folds(tmp_path / "run", copied_digits, config)


def vars_of(outcome: FoldOutcome) -> dict[str, object]:
    """Plain values, which `assert_same` compares."""
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in vars(outcome).items()
    }


class TestEarlyStop:
    @pytest.mark.parametrize(
        ("losses", "epochs", "patience", "stops"),
        [
            ([], 8, 0.25, False),
            ([1.0], 8, 0.25, False),
            ([1.0, 0.9, 0.8, 0.7], 4, 0.25, False),  # each is better
            ([1.0, 1.1], 8, 0.25, False),  # one of two epochs waited for
            ([1.0, 1.1, 1.05], 8, 0.25, True),
            ([1.0, 1.1, 0.9], 8, 0.25, False),
            ([1.0, 1.1, 0.9, 0.95, 0.92], 8, 0.25, True),
            ([1.0, 1.0, 1.0], 8, 0.25, True),  # as good is not better
            ([1.0, 1.1], 8, 0.01, True),
            ([1.0, *[2.0] * 6], 8, 1.0, False),
        ],
    )
    def test_by_the_losses(
        self,
        losses: list[float],
        epochs: int,
        patience: float,
        stops: bool,
        copied_digits: ArrayImages,
        tmp_path: Path,
    ) -> None:
        config = quick(epochs=epochs, patience=patience)
        run = Run(tmp_path, "x", config, None, "fold")
        line = {"kind": "validation", "step": 0, "epoch": 1, "elapsed_s": 2.0}
        lines = [json.dumps({**line, "loss": loss}) + "\n" for loss in losses]
        run.metrics_file.write_text("".join(lines))
        fold = split_into_folds(copied_digits, 2)[0]
        runtime, source = Runtime("cpu", "32-true"), Source("x", copied_digits)
        job = FoldTraining.of(run, fold, copied_digits, runtime, source, "fold")
        assert job.has_to_stop() == stops

    def test_the_epoch_is_that_of_the_least_loss(self, fitted: Fitted) -> None:
        run, outcomes, _ = fitted
        for number, outcome in enumerate(outcomes):
            of_fold = Run.open(fold_run(run.path, number))
            lines = of_fold.read_metrics("validation")
            assert [line["epoch"] for line in lines] == [1, 2, 3]  # patience 1 goes to the end
            losses = [line["loss"] for line in lines]
            assert outcome.epoch == lines[losses.index(min(losses))]["epoch"]
            state = torch.load(stopped_checkpoint(of_fold), weights_only=True)
            assert state["epoch"] == outcome.epoch
            # The loss is the centre view's, at the temperature that is best then.
            centre = outcome.validation_logits[:, :1]
            temperature = fit_temperature(centre)
            nll = rotation_nll(mean_probabilities(centre, temperature))
            assert min(losses) == pytest.approx(nll, abs=1e-4)
            line = lines[outcome.epoch - 1]
            assert line["temperature"] == pytest.approx(temperature, rel=1e-2)
            right = centre[:, 0].argmax(dim=2) == torch.arange(4)
            assert line["rotation_accuracy"] == pytest.approx(right.float().mean().item())

    @pytest.mark.parametrize(
        ("patience", "epochs_done", "epoch"), [(0.01, 2, 1), (0.25, 5, 3), (1, 8, 6)]
    )
    def test_in_a_training(
        self,
        copied_digits: ArrayImages,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        patience: float,
        epochs_done: int,
        epoch: int,
    ) -> None:
        losses = [1.0, 1.2, 0.8, 0.9, 0.85, 0.7, 0.75, 0.75]
        said: list[torch.Tensor] = []

        def measure(logits: torch.Tensor) -> dict[str, float]:
            said.append(logits)
            return {"loss": losses[(len(said) - 1) % epochs_done]}

        monkeypatch.setattr(networks, "measure_turns", measure)
        config = quick(epochs=8, patience=patience, batch_size=32, view_crops=1)
        run, outcomes = fit_folds(tmp_path / "run", copied_digits, config)
        assert len(said) == 2 * epochs_done
        for number, outcome in enumerate(outcomes):
            of_fold = Run.open(fold_run(run.path, number))
            assert of_fold.epochs_done() == epochs_done
            assert outcome.epoch == epoch
            # It is the network of that epoch that speaks, and of no other.
            of_epochs = said[number * epochs_done :][:epochs_done]
            apart = [(outcome.validation_logits - s).abs().max().item() for s in of_epochs]
            assert apart[epoch - 1] < 1e-4
            assert sorted(apart)[1] > 1e-3

    def test_what_has_stopped_is_not_trained_on_after_an_interruption(
        self, copied_digits: ArrayImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        losses = iter([1.0, 1.2])

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        config = quick(epochs=8, patience=0.01, batch_size=32, view_crops=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(networks, "measure_turns", lambda logits: {"loss": next(losses)})
            patch.setattr(networks, "_score", interrupt)
            with pytest.raises(KeyboardInterrupt):
                fit_folds(tmp_path / "run", copied_digits, config)
        monkeypatch.setattr(loop, "training_step", interrupt)
        with pytest.raises(KeyboardInterrupt):  # in the second fold
            fit_folds(tmp_path / "run", copied_digits, config)
        assert FoldOutcome.read(tmp_path / "run" / "fold-0" / "outcome.npz").epoch == 1
        assert Run.open(fold_run(tmp_path / "run", 0)).epochs_done() == 2


class TestUnreadable:
    def test_files_keep_their_numbers_and_are_not_scored(self, tmp_path: Path) -> None:
        data = tmp_path / "photos"
        data.mkdir()
        for i in range(30):
            Image.fromarray(photo(i, 20, 20)).save(data / f"{i:02d}.png")
        images = open_source(str(data)).train
        lost = [4, 17, 23]
        for i in lost:
            whole = images.path(i).read_bytes()
            images.path(i).write_bytes(whole[: len(whole) // 2])
        config = quick(epochs=1, max_bad_fraction=0.3, view_crops=1)
        _, outcomes = fit_folds(tmp_path / "run", images, config)
        scored = [i for outcome in outcomes for i in outcome.numbers.tolist()]
        assert sorted(scored) == [i for i in range(30) if i not in lost]
        for outcome in outcomes:
            assert len(outcome.logits) == len(outcome.last_logits) == len(outcome.numbers)
            assert len(outcome.seen_logits) == len(outcome.seen_numbers)
            assert not set(outcome.seen_numbers.tolist()) & set(lost)
        table = gather_table(images, outcomes, config.data)
        assert np.flatnonzero(table.fold == -1).tolist() == lost


WORDS = (
    "upright",
    "digits",
    "--limit",
    100,
    "--folds",
    2,
    "--epochs",
    2,
    "--batch-size",
    16,
    "--log-every",
    2,
    "--device",
    "cpu",
    "--seed",
    5,
    "--view-crops",
    1,
    "--patience",
    1,
)
STEPS_OF_A_FOLD = 6  # two epochs of 45 images by 16


def kill_before_step(number: int) -> None:
    """Arrange that this process is killed before the n-th step of all its trainings."""
    plain, made = loop.training_step, []

    def training_step(*arguments: object) -> dict[str, torch.Tensor]:
        made.append(1)
        if len(made) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments)

    loop.training_step = training_step


def kill_before_keeping(number: int) -> None:
    """Arrange that it is killed when an epoch is validated, but not in a checkpoint yet."""
    plain, kept = loop.keep, []

    def keep(training: loop.Training) -> None:
        kept.append(1)
        if len(kept) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(training)

    loop.keep = keep


KILLS: dict[str, tuple[Callable[[int], None], int]] = {
    "in its second epoch": (kill_before_step, STEPS_OF_A_FOLD + 5),
    "at its last checkpoint": (kill_before_keeping, 4),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    log = folder / "log"
    assert command(*WORDS, "--out", folder / "whole", log=log) == 0, log.read_text()
    return folder / "whole"


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def arrays_of(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as arrays:
        return dict(arrays)


class TestInterrupted:
    @pytest.mark.parametrize("kill", KILLS)
    def test_a_run_killed_in_fold_two_resumes_exactly(
        self, kill: str, uninterrupted: Path, tmp_path: Path
    ) -> None:
        run, log = tmp_path / "killed", tmp_path / "log"
        assert command(*WORDS, "--out", run, log=log, sabotage=KILLS[kill]) == -9, log.read_text()
        assert (run / "fold-0" / "outcome.npz").exists()
        assert not (run / "fold-1" / "outcome.npz").exists()
        before = stamps(run / "fold-0")

        assert command("upright", "--resume", run, log=log) == 0, log.read_text()
        assert stamps(run / "fold-0") == before
        for fold in ("fold-0", "fold-1"):
            assert_same_checkpoint(run / fold, uninterrupted / fold)
            assert metrics_without_times(run / fold) == metrics_without_times(uninterrupted / fold)
        for file in ("fold-0/outcome.npz", "fold-1/outcome.npz", "upright.npz"):
            one, other = arrays_of(run / file), arrays_of(uninterrupted / file)
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name], strict=True)
        assert not list(run.rglob("*.partial"))

    @pytest.fixture(params=["training_step", "keep", "_score"])
    def interrupted(
        self, request: pytest.FixtureRequest, copied_digits: ArrayImages, tmp_path: Path
    ) -> Path:
        """A run that stopped in its first fold: amid an epoch, validated, or not yet asked."""
        module = networks if request.param == "_score" else loop
        plain, calls = getattr(module, request.param), []
        last = {"training_step": 6, "keep": 2, "_score": 1}[request.param]  # two steps an epoch

        def interrupt(*arguments: object) -> object:
            calls.append(1)
            if len(calls) == last:
                raise KeyboardInterrupt
            return plain(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, request.param, interrupt)
            with pytest.raises(KeyboardInterrupt):
                fit_folds(tmp_path / "run", copied_digits, THREE_EPOCHS)
        return tmp_path / "run"

    def test_the_rest_of_a_line_is_cut_off(
        self, interrupted: Path, copied_digits: ArrayImages, fitted: Fitted
    ) -> None:
        with open(interrupted / "fold-0" / "metrics.jsonl", "a") as file:
            file.write('{"kind": "valid')  # what a power cut leaves
        _, outcomes = fit_folds(interrupted, copied_digits, THREE_EPOCHS)
        for one, other in zip(outcomes, fitted[1], strict=True):
            assert_same(vars_of(one), vars_of(other), "outcome")

    def test_a_fold_without_settings_starts_over(
        self, copied_digits: ArrayImages, fitted: Fitted, tmp_path: Path
    ) -> None:
        (tmp_path / "run" / "fold-0" / "checkpoints").mkdir(parents=True)
        _, outcomes = fit_folds(tmp_path / "run", copied_digits, THREE_EPOCHS)
        for one, other in zip(outcomes, fitted[1], strict=True):
            assert_same(vars_of(one), vars_of(other), "outcome")
