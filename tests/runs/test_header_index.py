"""No command reads a header twice: what a run's first command has read, the others take from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quarterturn import embed, finetune, pretrain, probe, upright
from quarterturn.classifying.finetune import resume_finetune
from quarterturn.data import header_index
from quarterturn.orientation.upright import resume_upright
from quarterturn.pretraining.pretrain import resume
from tests.fixtures.runs import QUICK

SMALL = {
    "preset": "folder",
    "backbone": "convnet",
    "image_size": 32,
    "epochs": 0,
    "batch_size": 16,
    "device": "cpu",
    "workers": 0,
}


@pytest.fixture
def headers_read(monkeypatch) -> list[Path]:
    paths: list[Path] = []
    read_size = header_index.read_size

    def read(path: Path) -> tuple[int, int]:
        paths.append(path)
        return read_size(path)

    monkeypatch.setattr(header_index, "read_size", read)
    return paths


def test_of_a_pretraining(tmp_path, photos, headers_read):
    run = pretrain(photos, out=tmp_path / "run", **SMALL)
    assert len(headers_read) == 60
    headers_read.clear()
    resume(run.path)
    probe(run.path, photos, seeds=1, kind="knn", untrained=False, device="cpu")
    embed(run.path, out=tmp_path / "x.npz", device="cpu")
    finetune(
        photos,
        start=run.path,
        out=tmp_path / "classifier",
        **{**SMALL, "preset": "folder-classifier"},
    )
    assert headers_read == []
    resume_finetune(tmp_path / "classifier")
    assert headers_read == []


def test_of_upright(tmp_path, photos, headers_read, monkeypatch):
    monkeypatch.setattr(
        "quarterturn.orientation.upright.make_probabilities", lambda *a, **named: None
    )
    settings = {"folds": 2, "device": "cpu"}
    run = upright(photos, out=tmp_path / "run", preset="folder-rotnet", **settings)
    assert len(headers_read) == 60
    headers_read.clear()
    resume_upright(run.path)
    assert headers_read == []


def test_of_arrays_nothing_is_kept(tmp_path):
    run = pretrain("digits", out=tmp_path / "run", **{**QUICK, "epochs": 0})
    assert not run.index.exists()
