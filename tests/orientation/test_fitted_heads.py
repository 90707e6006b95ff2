"""Rotation heads on trained weights: ``upright --from``."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from quarterturn import ConfigError, load_backbone, orient, pretrain, upright
from quarterturn.cli import main
from quarterturn.data.selection import select_images
from quarterturn.data.views import list_views
from quarterturn.engine.runtime import Runtime
from quarterturn.files import write_json
from quarterturn.methods.build import build_network
from quarterturn.methods.rotation_head import RotationHeadNetwork
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.orientation import fitted_heads
from quarterturn.orientation.fitted_heads import fit_rotation_heads
from quarterturn.orientation.networks import OUTCOME, FoldOutcome, stopped_checkpoint
from quarterturn.orientation.upright import resume_upright
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.orientation.view_logits import view_logits
from quarterturn.presets import fold_recipe, preset, upright_recipe
from quarterturn.rotation import rotate4
from quarterturn.runs import Imported, Run

HEADS: dict[str, Any] = {"folds": 2, "limit": 200, "image_size": 16, "device": "cpu"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, digits_run: Run) -> Run:
    """Heads on a backbone that has seen the digits for a moment."""
    out = tmp_path_factory.mktemp("runs") / "u"
    return upright("digits", out=out, start=digits_run.path, **HEADS)


class TestHead:
    @pytest.fixture
    def network(self) -> RotationHeadNetwork:
        built = build_network(preset("digits").with_settings(method="rotation-head"))
        assert isinstance(built, RotationHeadNetwork)
        return built.eval()

    def test_reads_the_last_two_maps(self, network: RotationHeadNetwork) -> None:
        assert network.layers == ("conv2", "conv3")
        assert network.rotation_head.in_features == 4 * (64 + 128)
        images = torch.randn(3, 3, 16, 16)
        maps = network.backbone.features(images, ["conv2", "conv3"])
        found = network.turn_features(images)
        half = maps["conv2"].shape[-1] // 2
        top_left = maps["conv2"][:, :, :half, :half].mean(dim=(2, 3))
        torch.testing.assert_close(found[:, : 4 * 64 : 4], top_left)
        turned = network.features_of_turns(images)[:, 3]
        torch.testing.assert_close(turned, network.turn_features(rotate4(images)[:, 3]))

    def test_pools_repeat_the_map_before_them(self) -> None:
        config = preset("imagenet-alexnet").with_settings(method="rotation-head")
        network = build_network(config)
        assert isinstance(network, RotationHeadNetwork)
        assert network.layers == ("conv4", "conv5")

    def test_keeps_the_backbone(self, network: RotationHeadNetwork) -> None:
        trained = [name for name, p in network.named_parameters() if p.requires_grad]
        assert trained == ["rotation_head.weight", "rotation_head.bias"]
        network.train()
        assert not any(stage.training for stage in network.backbone.stages.values())

    def test_layers_can_be_named(self) -> None:
        options = RotationHeadOptions(layers=("conv1",), grid=1)
        network = build_network(preset("digits").with_settings(method=options))
        assert network.rotation_head is not None
        assert network.rotation_head.in_features == 32
        with pytest.raises(ConfigError, match=r"no layers \['conv9'\]; this backbone has conv1"):
            build_network(
                preset("digits").with_settings(method=RotationHeadOptions(layers=("conv9",)))
            )


class TestFit:
    def test_is_that_of_scikit_learn(self, rng: np.random.Generator) -> None:
        turns = np.arange(400) % 4
        plain = rng.normal(size=(400, 6)) + np.eye(4, 6)[turns] * [1, 2, 3, 4, 5, 6]
        plain[:, 5] = 7  # a feature that is always the same
        scaled = StandardScaler().fit_transform(plain)
        (found,) = fit_rotation_heads(
            torch.tensor(plain, dtype=torch.float32), torch.tensor(turns), [1e-2]
        )
        penalty, weight, bias = found
        # Its loss is C times the sum of the losses plus half the squares.
        expected = LogisticRegression(C=1 / (2 * penalty * 400), tol=1e-8, max_iter=1000)
        expected.fit(scaled, turns)
        logits = torch.tensor(plain, dtype=torch.float32) @ weight.T + bias
        np.testing.assert_allclose(
            logits.softmax(dim=1).numpy(), expected.predict_proba(scaled), atol=2e-3
        )


class TestUpright:
    def test_tells_turns_it_has_not_seen(self, finished: Run) -> None:
        in_use = finished.read_json("summary.json")["in_use"]
        assert in_use["rotation_accuracy"] > 0.7
        table = UprightTable.read(finished.path / "upright.npz")
        assert len(table) == 200
        assert sorted(set(table.fold.tolist())) == [0, 1]
        np.testing.assert_allclose(table.probabilities.sum(axis=2), 1, atol=1e-5)

    def test_run_says_what_it_began_with(self, finished: Run, digits_run: Run) -> None:
        opened = Run.open(finished.path)
        assert opened.config.method == RotationHeadOptions()
        assert opened.start == str(digits_run.path.resolve())
        assert opened.config.upright.view_crops == 1
        names = [row[0] for row in opened.read_json("summary.json")["tables"][0]["rows"]]
        assert names[0] == "centre crop"
        assert "last epoch, centre crop" not in names
        assert (opened.path / "report.html").exists()
        assert not (opened.path / "features").exists()

    def test_outcomes_are_those_of_the_networks(self, finished: Run) -> None:
        """What was computed from kept features is what the kept network says of the images."""
        run = Run.open(finished.path / "fold-1")
        network = run.load_network(stopped_checkpoint(run))
        outcome = FoldOutcome.read(run.path / OUTCOME)
        runtime = Runtime("cpu", "32-true")
        chosen = select_images("digits", run.config.data).chosen
        assert runtime.is_main
        views = list_views(run.config.data, 1)
        _, logits = view_logits(network, chosen.subset(outcome.numbers), run.config.data, views)
        torch.testing.assert_close(logits, outcome.logits, rtol=1e-4, atol=1e-4)

    def test_heads_differ_by_fold_alone(self, finished: Run, digits_run: Run) -> None:
        first, second = (
            run.load_network(stopped_checkpoint(run)).state_dict()
            for run in (Run.open(finished.path / f"fold-{i}") for i in (0, 1))
        )
        begun = digits_run.load_network().state_dict()
        differ = {name for name in first if not torch.equal(first[name], second[name])}
        assert differ == {"rotation_head.weight", "rotation_head.bias"}
        for name in first:
            if name.startswith("backbone"):
                assert torch.equal(first[name], begun[name])

    def test_penalty_is_chosen_on_validation_images(self, finished: Run) -> None:
        lines = Run.open(finished.path / "fold-0").read_metrics("validation")
        assert [line["penalty"] for line in lines] == [1e-2, 1e-3, 1e-4]
        assert len({line["loss"] for line in lines}) == 3

    def test_resumes_without_the_start_or_a_pass(
        self, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = Path(shutil.copytree(finished.path, tmp_path / "u"))
        (run / "fold-1" / OUTCOME).unlink()
        (run / "upright.npz").unlink()
        resume_upright(run)
        one, other = (UprightTable.read(path / "upright.npz") for path in (run, finished.path))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a pass over the images")

        monkeypatch.setattr(fitted_heads, "extract_parts", refuse)
        (run / "upright.npz").unlink()
        resume_upright(run)

    def test_new_images_are_oriented(self, finished: Run, tmp_path: Path) -> None:
        found = orient(finished.path, "digits", out=tmp_path / "oriented", device="cpu")
        scored = {how for by in found["counts"].values() for how in by}
        assert scored == {"out of fold", "new"}
        assert load_backbone(finished.path / "fold-0").rotation(
            torch.zeros(2, 3, 16, 16)
        ).shape == (2, 4)

    def test_command_line_makes_the_same_run(
        self, finished: Run, digits_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["upright", "digits", "--from", str(digits_run.path), "--folds", "2"]
        words += ["--limit", "200", "--image-size", "16", "--device", "cpu"]
        assert main([*words, "--out", str(tmp_path / "u")]) == 0
        run = Run.open(tmp_path / "u")
        assert run.config == finished.config
        said = " ".join(capsys.readouterr().err.split())
        assert "2 rotation heads on the weights of digits (convnet at 16 px), each fitted" in said
        one, other = (UprightTable.read(r.path / "upright.npz") for r in (run, finished))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)

    def test_weights_that_do_not_fit_are_refused(
        self, digits_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["upright", "digits", "--out", str(tmp_path / "u"), "--image-size", "32", "--from"]
        assert main([*words, str(digits_run.path)]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "was trained at 16 px" in said
        assert "give --image-size 16" in said
        assert main([*words, str(tmp_path / "nothing")]) == 2
        assert "there is no such run or file" in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "u").exists()


class TestRecipes:
    def test_weights_are_seen_as_they_expect(self) -> None:
        start = preset("folder").with_settings(mean=(0.1, 0.2, 0.3), backbone="resnet50")
        recipe = upright_recipe("PHOTOS", None, start)
        assert recipe.data.mean == (0.1, 0.2, 0.3)
        assert recipe.model.backbone == "resnet50"
        assert recipe.data.image_size == 128
        assert upright_recipe("PHOTOS") == preset("folder-rotnet")

    def test_a_teachers_weights_tell_the_turns_first(
        self, digits_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        start = tmp_path / "imported"
        shutil.copytree(digits_run.path, start)
        stored = json.loads((start / "config.json").read_text())
        origin = Imported("theirs.pth", "0" * 64, "torchvision", (), licence="MIT")
        write_json(start / "config.json", stored | {"origin": asdict(origin)})
        settings = {"preset": "digits", "method": "distill", "epochs": 0, "limit": 100}
        settings |= {"upright": "auto", "folds": 2, "device": "cpu", "diagnostics": False}
        with caplog.at_level(logging.INFO, "quarterturn"):
            run = pretrain("digits", start=start, out=tmp_path / "run", **settings)
        assert "2 rotation heads come first, on features of the weights that" in caplog.text
        assert "2 rotation heads on the weights of theirs.pth (torchvision; " in caplog.text
        within = Run.open(run.path / "upright")
        assert within.origin == origin
        assert within.config == fold_recipe(run.config)
        assert within.config.method == RotationHeadOptions()
        assert within.config.data.image_size == 16
        assert len(UprightTable.read(within.path / "upright.npz")) == 100

    def test_heads_without_weights_are_refused(self, tmp_path: Path) -> None:
        settings = {"upright": "auto", "fold_preset": "folder-rotation-head", "epochs": 1}
        with pytest.raises(ConfigError, match="fits heads on trained weights: give --from"):
            pretrain("digits", out=tmp_path / "run", **settings)
        assert not (tmp_path / "run").exists()
