"""``--dry-run``: what a training would take, and nothing written."""

from __future__ import annotations

import os
import re

import pytest

import quarterturn
from quarterturn.cli import main
from quarterturn.errors import ConfigError
from quarterturn.methods.memory import checkpoint_bytes
from quarterturn.presets import preset
from quarterturn.runs import dry_run
from tests.fixtures.detection import DETECT

WORDS = ["pretrain", "digits", "--limit", "200", "--batch-size", "32", "--epochs", "3"]


def test_says_what_it_takes_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--dry-run", "--out", "deep/run", "--workers", "0"]) == 0
    found = capsys.readouterr()
    printed = " ".join((found.out + found.err).split())
    assert "200 images to learn from, 450 held out" in printed
    assert "3 epochs of 7 steps" in printed
    assert "memory for a step, estimated:" in printed
    assert re.search(r"3 steps took [\d.]+ m?s each, so an epoch of 7 steps over 200", printed)
    assert re.search(r"checkpoints take \d+ MB on the disk of deep/run, where", printed)
    assert printed.endswith("dry run: nothing was written")
    assert os.listdir(tmp_path) == []


def test_no_epochs_take_only_room(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["pretrain", "digits", "--epochs", "0", "--method", "rotnet"]
    printed = printed_by([*words, "--dry-run", "--out", "run"], capsys)
    assert "steps took" not in printed
    assert "1,347 images in digits" in printed
    assert "0 epochs: nothing is trained" in printed
    room = checkpoint_bytes(preset("digits").with_settings(method="rotnet"), 1347)
    assert f"checkpoints take {room / 1e6:.0f} MB" in printed
    assert os.listdir(tmp_path) == []


COMMON = [*WORDS[1:], "--dry-run", "--out", "deep/run", "--workers", "0"]


def printed_by(words: list[str], capsys) -> str:
    """What a command prints, which succeeds, in one line."""
    assert main(words) == 0
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def test_seeds_of_a_classifier_are_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = printed_by(["finetune", *COMMON, "--seeds", "3"], capsys)
    assert "200 labelled training images" in printed
    assert "memory for a step, estimated:" in printed
    assert re.search(r"3 steps took [\d.]+ m?s each, so an epoch of 7 steps over 200", printed)
    assert "3 seeds, one after the other:" in printed
    room = 3 * 2 * checkpoint_bytes(preset("digits-classifier"), 200)
    assert f"checkpoints take {room / 1e6:.0f} MB on the disk of deep/run, where" in printed
    assert printed.endswith("dry run: nothing was written")
    assert os.listdir(tmp_path) == []


def test_exact_classifier_takes_a_pass(tmp_path, monkeypatch, capsys, digits_run):
    monkeypatch.chdir(tmp_path)
    words = ["finetune", "digits", "--limit", "200", "--from", str(digits_run.path)]
    words += ["--trained", "none", "--dry-run", "--workers", "0"]
    printed = printed_by(words, capsys)
    assert "the features of 192 images took" in printed
    assert "so those of all 400, test images included, take" in printed
    assert printed.endswith("dry run: nothing was written")
    assert os.listdir(tmp_path) == []


def test_a_solved_beginning_is_not_timed(tmp_path, monkeypatch, capsys, digits_run):
    monkeypatch.chdir(tmp_path)
    words = ["finetune", "digits", "--limit", "200", "--from", str(digits_run.path)]
    words += ["--classifier-init", "solved", "--epochs", "2", "--dry-run", "--workers", "0"]
    printed = printed_by(words, capsys)
    assert "begins as is solved first, which is not in what follows" in printed
    assert re.search(r"3 steps took [\d.]+ m?s each", printed)
    assert os.listdir(tmp_path) == []


def test_folds_of_upright_are_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = printed_by(["upright", *COMMON, "--folds", "3"], capsys)
    assert "3 rotation networks (convnet at 16 px)" in printed
    assert re.search(r"3 steps took [\d.]+ m?s each, so an epoch of \d steps over 120", printed)
    assert "3 folds, one after the other:" in printed
    assert os.listdir(tmp_path) == []


def test_heads_of_upright_take_a_pass(tmp_path, monkeypatch, capsys, digits_run):
    monkeypatch.chdir(tmp_path)
    words = ["upright", "digits", "--limit", "100", "--from", str(digits_run.path)]
    words += ["--image-size", "16"]
    printed = printed_by([*words, "--dry-run", "--workers", "0"], capsys)
    assert re.search(r"four turned copies of 100 images took \d+ ms an image", printed)
    assert "features, which go in the end, and checkpoints take" in printed
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("proposals", ["file", "selective-search"])
def test_iterations_of_a_detector_are_counted(
    boxed_tree, proposals_file, proposals, tmp_path, caplog, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    searched = proposals == "selective-search"
    if searched:
        pytest.importorskip("cv2")
    before = sorted(boxed_tree.rglob("*"))
    caplog.set_level("INFO")
    quarterturn.detect(
        f"voc:{boxed_tree}",
        **DETECT,
        proposals="selective-search" if searched else str(proposals_file),
        iterations=20,
        dry_run=True,
    )
    assert ("selective search took" in caplog.text) == searched
    assert re.search(r"3 steps took [\d.]+ m?s each, so 20 iterations of 2 images", caplog.text)
    assert "memory in use after these steps" in caplog.text
    assert caplog.messages[-1] == "dry run: nothing was written"
    assert os.listdir(tmp_path) == []
    assert sorted(boxed_tree.rglob("*")) == before


def test_what_a_training_refuses_is_refused(tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    with pytest.raises(ConfigError, match="exists; choose another --out"):
        quarterturn.pretrain("digits", out=place, limit=64, epochs=1, dry_run=True)
    with pytest.raises(ConfigError, match="exists; choose another --out"):
        quarterturn.finetune("digits", out=place, limit=64, seeds=2, dry_run=True)
    with pytest.raises(ConfigError, match="exists; choose another --out"):
        quarterturn.upright("digits", out=place, limit=64, dry_run=True)
    with pytest.raises(ConfigError, match="--epochs is -1"):
        quarterturn.pretrain("digits", epochs=-1, dry_run=True)


def test_a_full_disk_is_named(tmp_path, monkeypatch, caplog):
    class Full:
        free = 1000

    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda path: Full)
    run = quarterturn.pretrain(
        "digits", out=tmp_path / "run", limit=64, batch_size=16, epochs=1, dry_run=True
    )
    assert "more than is free: give --out RUN on another disk" in caplog.text
    assert not run.path.exists()


def test_checkpoints_are_as_large_as_was_said(tmp_path):
    config = preset("digits").with_settings(epochs=1, limit=64, batch_size=32, diagnostics=False)
    run = quarterturn.pretrain("digits", config=config, out=tmp_path / "run")
    size = run.checkpoint.stat().st_size
    assert checkpoint_bytes(config, 64) == pytest.approx(size, rel=0.05)
