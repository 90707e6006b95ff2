import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn.data.selection import select_images
from quarterturn.data.sources import open_source
from quarterturn.data.views import list_views
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.errors import ConfigError, DataError
from quarterturn.orientation.calibration import choose_calibration
from quarterturn.orientation.networks import OUTCOME, FoldOutcome, fold_run, stopped_checkpoint
from quarterturn.orientation.predicted_turns import (
    orient_images,
    predict_copies,
    run_to_orient_by,
)
from quarterturn.orientation.temperature import fit_temperature
from quarterturn.orientation.turns import IN_SAMPLE, NEW, OUT_OF_FOLD, Turns
from quarterturn.orientation.upright_table import FILE
from quarterturn.orientation.view_logits import view_logits
from quarterturn.runs import Run
from tests.data.pictures import noise, save_photo, truncate

from .upright_runs import FOLDS, pretrained_run, sharp, tiny, upright_run

STORED = [0, 1, 2, 3, 0, 3, 2, 1, 0, 1]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Ten photos, of which a few are stored turned, to those who ask the run of `upright`."""
    for i in range(10):
        save_photo(tmp_path / "photos" / f"{i}.png", i, 20, 24)
    return str(tmp_path / "photos")


def orient(run: Run, data: str) -> tuple[dict[str, Turns], bool]:
    found = orient_images(run, open_source(data).splits, data)
    return found.reading.turns, found.learned_is_known


def predicted(run: Run, data: str) -> np.ndarray:
    """(n, 4, 4) of the training images."""
    found, _ = predict_copies(run, open_source(data).splits, data)
    return found["train"].probabilities


def softmax(logits: torch.Tensor) -> np.ndarray:
    powers = np.exp(logits.numpy().astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def asked_by_hand(run: Run, data: str, index: int, fold: int) -> tuple[np.ndarray, float]:
    """Probabilities (4, 4) and agnostic score of a training image by the network of one fold."""
    paths = [fold_run(run.path, number) for number in range(FOLDS)]
    reading = choose_calibration([FoldOutcome.read(p / OUTCOME) for p in paths], run.config.data)
    of_fold = Run.open(paths[fold])
    network = of_fold.load_network(stopped_checkpoint(of_fold))
    image = open_source(data).train.subset(np.array([index]))
    views = list_views(run.config.data, run.config.upright.view_crops)
    logits = view_logits(network, image, run.config.data, views)[1][0, reading.views]
    by_view = softmax(logits / reading.temperature)
    entropies = -(by_view * np.log(by_view)).sum(axis=-1) / np.log(4)
    return by_view.mean(axis=0), float(entropies.mean())


class TestByFolds:
    def test_training_images_have_their_stored_scores(self, tmp_path, data):
        agnostic = np.linspace(0, 0.9, 10)
        run = upright_run(tmp_path / "run", data, sharp(STORED), agnostic)
        for number in range(FOLDS):
            shutil.rmtree(fold_run(run.path, number))  # no network is asked
        found, known = orient(run, data)
        assert known
        assert list(found) == ["train"]
        assert found["train"].scored == [OUT_OF_FOLD] * 10
        # Counter-clockwise back by as much as it is turned counter-clockwise.
        assert found["train"].to_upright.tolist() == [(4 - turn) % 4 for turn in STORED]
        np.testing.assert_allclose(found["train"].agnostic, agnostic, atol=1e-6)
        np.testing.assert_allclose(predicted(run, data), sharp(STORED), atol=1e-6)

    def test_new_images_have_the_mean_of_all_networks(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data)
        for i in range(8):
            save_photo(tmp_path / "other" / f"{i}.png", 50 + i, 20, 24)
        other = str(tmp_path / "other")
        found, known = orient(run, other)
        assert known
        assert found["train"].scored == [NEW] * 8
        for i in (0, 5):
            said = [asked_by_hand(run, other, i, fold) for fold in range(FOLDS)]
            assert abs(said[0][0] - said[1][0]).max() > 0.02
            mean = np.mean([probabilities for probabilities, _ in said], axis=0)
            np.testing.assert_allclose(predicted(run, other)[i], mean, atol=1e-5)
            expected = np.mean([agnostic for _, agnostic in said])
            assert found["train"].agnostic[i] == pytest.approx(expected, abs=1e-5)

    def test_the_views_are_those_that_the_stored_scores_are_of(self, tmp_path, data):
        # Of two views, the mirrored one is left out where it does not help.
        for change, number in [(0.0, 2), (40.0, 1)]:
            run = upright_run(tmp_path / f"run-{number}", data, mirrored_noise=change)
            paths = [fold_run(run.path, fold) / OUTCOME for fold in range(FOLDS)]
            reading = choose_calibration([FoldOutcome.read(p) for p in paths], run.config.data)
            assert len(reading.views) == number
            assert reading.temperature < 0.3
            other = tmp_path / "other"
            for i in range(8):
                save_photo(other / f"{i}.png", 50 + i, 20, 24)
            said = [asked_by_hand(run, str(other), 3, fold)[0] for fold in range(FOLDS)]
            expected = np.mean(said, axis=0)
            np.testing.assert_allclose(predicted(run, str(other))[3], expected, atol=1e-5)

    def test_images_beyond_the_limit_and_test_images_are_new(self, tmp_path):
        for split, number in [("train", 12), ("test", 3)]:
            for i in range(number):
                save_photo(tmp_path / "x" / split / f"{i:02d}.png", i, 20, 24)
        data = str(tmp_path / "x")
        run = upright_run(tmp_path / "run", data, limit=9)
        chosen = set(select_images(data, run.config.data).chosen.names)
        found, _ = orient(run, data)
        names = open_source(data).train.names
        assert found["train"].scored == [OUT_OF_FOLD if n in chosen else NEW for n in names]
        assert found["train"].scored.count(NEW) == 3
        assert found["test"].scored == [NEW] * 3

    def test_an_image_that_could_not_be_read_then_is_new(self, tmp_path, data):
        fold = np.arange(10) % FOLDS
        fold[4] = -1
        run = upright_run(tmp_path / "run", data, fold=fold)
        found, _ = orient(run, data)
        assert [i for i, way in enumerate(found["train"].scored) if way == NEW] == [4]
        said = [asked_by_hand(run, data, 4, fold)[0] for fold in range(FOLDS)]
        expected = np.mean(said, axis=0)
        np.testing.assert_allclose(predicted(run, data)[4], expected, atol=1e-5)

    def test_a_changed_file_goes_to_the_fold_without_it(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data, sharp(STORED))
        later = (run.path / FILE).stat().st_mtime + 10
        for i in (2, 7):
            os.utime(Path(data) / f"{i}.png", (later, later))
        found, _ = orient(run, data)
        assert found["train"].scored == [OUT_OF_FOLD] * 10
        for i in (2, 7):
            expected = asked_by_hand(run, data, i, i % FOLDS)[0]
            np.testing.assert_allclose(predicted(run, data)[i], expected, atol=1e-5)
        assert found["train"].to_upright[[1, 3]].tolist() == [3, 1]

    def test_unreadable_images_stay_in_their_places(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data)
        for i in range(30):
            save_photo(tmp_path / "other" / f"{i:02d}.jpg", i, 60, 64)
        truncate(tmp_path / "other" / "03.jpg")
        found, _ = orient(run, str(tmp_path / "other"))
        assert np.flatnonzero(~found["train"].readable).tolist() == [3]
        assert found["train"].verdicts(agnostic=1, confidence=0)[3] == "unreadable"
        said = [asked_by_hand(run, str(tmp_path / "other"), 4, fold)[0] for fold in (0, 1)]
        found = predicted(run, str(tmp_path / "other"))
        np.testing.assert_allclose(found[4], np.mean(said, axis=0), atol=1e-5)


class TestWhatWasLearnedFrom:
    def test_links_lead_to_the_same_images(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data, sharp(STORED))
        (tmp_path / "mixed").mkdir()
        (tmp_path / "mixed" / "link.png").symlink_to(Path(data) / "3.png")
        for i in range(8):
            save_photo(tmp_path / "mixed" / f"new-{i}.png", 50 + i, 20, 24)
        found, _ = orient(run, str(tmp_path / "mixed"))
        assert found["train"].scored == [OUT_OF_FOLD] + [NEW] * 8
        assert found["train"].to_upright[0] == 1

    def test_files_that_have_come_since_are_new(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data, sharp(STORED))
        save_photo(Path(data) / "00.png", 77, 20, 24)
        found, known = orient(run, data)
        assert known
        assert found["train"].scored == [OUT_OF_FOLD, NEW] + [OUT_OF_FOLD] * 9
        assert found["train"].to_upright[[0, *range(2, 11)]].tolist() == [
            (4 - turn) % 4 for turn in STORED
        ]

    def test_a_collection_that_was_moved_is_still_the_same(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data, sharp(STORED))
        moved = Path(data).rename(tmp_path / "moved")
        found, known = orient(run, str(moved))
        assert known
        assert found["train"].scored == [OUT_OF_FOLD] * 10
        assert found["train"].to_upright.tolist() == [(4 - turn) % 4 for turn in STORED]

    def test_a_collection_of_its_names_and_sizes_is_another(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data)
        shutil.copytree(data, tmp_path / "copy")
        found, _ = orient(run, str(tmp_path / "copy"))
        assert found["train"].scored == [NEW] * 10

    def test_where_the_runs_data_is_gone_nothing_is_known(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data)
        shutil.rmtree(data)
        for i in range(8):
            save_photo(tmp_path / "other" / f"{i}.png", i, 20, 25)
        found, known = orient(run, str(tmp_path / "other"))
        assert not known
        assert found["train"].scored == [NEW] * 8

    def test_an_archive_with_other_images_is_refused(self, tmp_path):
        path = tmp_path / "x.npz"
        np.savez(path, train_images=noise(1, 12, 9, 9, 3), test_images=noise(2, 8, 9, 9, 3))
        run = upright_run(tmp_path / "run", str(path))
        found, _ = orient(run, str(path))
        assert found["train"].scored == [OUT_OF_FOLD] * 12
        assert found["test"].scored == [NEW] * 8
        np.savez(path, train_images=noise(3, 12, 9, 9, 3))
        with pytest.raises(DataError, match="are not those the run began with"):
            orient(run, str(path))


class TestByAPretrainedNetwork:
    def test_images_that_it_learned_from_are_counted(self, tmp_path, data):
        run = pretrained_run(tmp_path / "run", data)
        found = orient_images(run, open_source(data).splits, data).reading
        assert found.turns["train"].scored == [IN_SAMPLE] * 10
        assert found.caveat().startswith("The network has learned from 10 of the 10 images")
        # Its weights are those it began with, and it has never been asked about others.
        assert "images that it has learned from it predicts" in found.doubt()

    @pytest.mark.parametrize(("kind", "class_names"), [("pretrain", ()), ("finetune", ("a", "b"))])
    def test_a_network_without_a_rotation_head_is_refused(self, tmp_path, data, kind, class_names):
        config = tiny(method="instance")
        run = Run(tmp_path / "run", data, config, "0", kind, class_names=class_names)
        run.create()
        save_checkpoint(run.checkpoint, {"network": run.untrained_network().state_dict()})
        with pytest.raises(ConfigError, match="has no rotation head, and so predicts no turns"):
            orient(run, data)

    @pytest.mark.parametrize("method", ["decoupling", "rotnet", "multiview"])
    def test_new_images_by_the_centre_crop(self, tmp_path, data, method):
        run = pretrained_run(tmp_path / "run", data, method=method)
        for i in range(30):
            save_photo(tmp_path / "other" / f"{i:02d}.png", 50 + i, 20, 24)
        images = open_source(str(tmp_path / "other")).train
        found, _ = orient(run, str(tmp_path / "other"))
        assert found["train"].scored == [NEW] * 30
        views = list_views(run.config.data, 1)[:1]
        _, logits = view_logits(run.load_network(), images, run.config.data, views)
        expected = softmax(logits / fit_temperature(logits))[:, 0]
        np.testing.assert_allclose(predicted(run, str(tmp_path / "other")), expected, atol=1e-5)
        entropies = -(expected * np.log(expected)).sum(axis=-1).mean(axis=1) / np.log(4)
        np.testing.assert_allclose(found["train"].agnostic, entropies, atol=1e-5)

    def test_the_accuracy_that_it_was_diagnosed_with_counts(self, tmp_path, data):
        run = pretrained_run(tmp_path / "run", data)
        line = {"kind": "diagnostics", "step": 1, "epoch": 1, "elapsed_s": 1.0}
        line["rotation_accuracy"] = 0.4
        run.metrics_file.write_text(json.dumps(line) + "\n")
        found = orient_images(run, open_source(data).splits, data).reading
        assert found.accuracy == 0.4
        assert not found.tells
        assert "it predicts 40.0 %, where guessing gives 25 %" in found.doubt()

    def test_held_out_images_are_new(self, tmp_path):
        for i in range(40):
            save_photo(tmp_path / "photos" / f"{i:02d}.png", i, 20, 24)
        data = str(tmp_path / "photos")
        run = pretrained_run(tmp_path / "run", data, holdout=0.25)
        held_out = set(select_images(data, run.config.data).held_out.names)
        assert len(held_out) == 10
        found, _ = orient(run, data)
        names = open_source(data).train.names
        assert found["train"].scored == [NEW if n in held_out else IN_SAMPLE for n in names]

    def test_held_out_images_are_unknown_once_files_are_added(self, tmp_path):
        for i in range(40):
            save_photo(tmp_path / "photos" / f"{i:02d}.png", i, 20, 24)
        run = pretrained_run(tmp_path / "run", str(tmp_path / "photos"), holdout=0.25)
        save_photo(tmp_path / "photos" / "more.png", 77, 20, 24)
        found, _ = orient(run, str(tmp_path / "photos"))
        assert found["train"].scored == [IN_SAMPLE] * 41


class TestRunToOrientBy:
    def test_an_upright_run_within_is_used(self, tmp_path, data):
        outer = pretrained_run(tmp_path / "run", data, method="instance")
        inner = upright_run(outer.path / "upright", data)
        assert run_to_orient_by(outer) == inner
        assert run_to_orient_by(inner) == inner

    def test_networks_with_a_rotation_head_are_taken(self, tmp_path, data):
        run = pretrained_run(tmp_path / "run", data)
        assert run_to_orient_by(run) == run

    def test_a_fold_is_refused(self, tmp_path, data):
        run = upright_run(tmp_path / "run", data)
        with pytest.raises(ConfigError, match=f"is one fold of {run.path}; give that run"):
            run_to_orient_by(Run.open(fold_run(run.path, 0)))

    def test_an_unfinished_run_is_refused(self, tmp_path):
        run = Run(tmp_path / "run", "digits", tiny(), "0", "upright")
        run.create()
        with pytest.raises(
            ConfigError, match=r"has no upright\.npz; resume with: quarterturn upright --resume"
        ):
            run_to_orient_by(run)
