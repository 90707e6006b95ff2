from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from quarterturn import (
    CheckpointError,
    ConfigError,
    embed,
    import_checkpoint,
    load_backbone,
    probe,
    resume,
)
from quarterturn.cli import main
from quarterturn.comparing.compare import compare
from quarterturn.runs import Run
from tests.weights.originals import nin_logits, nin_state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RotNet's Network-in-Network of three blocks after 200 epochs."""
    path = tmp_path_factory.mktemp("original") / "model_net_epoch200"
    state = nin_state(3, torch.Generator().manual_seed(0))
    torch.save({"epoch": 200, "network": state}, path)
    return path


@pytest.fixture(scope="module")
def imported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return import_checkpoint(checkpoint, out=tmp_path_factory.mktemp("runs") / "nin")


@torch.no_grad()
def test_an_import_is_a_run(checkpoint: Path, imported: Run) -> None:
    assert Run.open(imported.path) == imported
    assert (imported.data, imported.fingerprint) == (None, None)
    assert imported.imported is not None
    assert imported.imported.file == "model_net_epoch200"
    assert imported.imported.layout == "RotNet's Network-in-Network of 3 blocks"
    assert len(imported.imported.sha256) == 64
    assert imported.epochs_done() == imported.config.run.epochs == 200
    assert str(checkpoint.parent) not in (imported.path / "config.json").read_text()

    images = torch.randn(2, 3, 32, 32)
    state = torch.load(checkpoint, weights_only=True)["network"]
    expected = nin_logits(state, 3, images).softmax(dim=1)
    for source in (imported.path, imported.checkpoint, checkpoint):
        found = load_backbone(source).rotation(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_a_run_can_do(imported: Run, photos: Path, tmp_path: Path) -> None:
    out = embed(imported.path, photos, out=tmp_path / "x.npz", workers=0)
    embeddings = np.load(out)["embeddings"]
    assert embeddings.shape == (60, 192)
    transform, backbone = load_backbone(imported.path).transform, load_backbone(imported.path)
    with torch.no_grad():
        first = backbone(transform(photos / "blue" / "00.png")[None])[0]
    np.testing.assert_allclose(embeddings[0], first, rtol=1e-3, atol=1e-5)
    result = probe(imported.path, photos, kind="knn", seeds=1, workers=0)
    assert result.score("trained", "whole", "knn-20").measures["top1"].mean > 0.9
    assert (result.epochs, result.test_images_learned_from) == (200, None)


def test_what_it_cannot(imported: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images came with them: give DATA"):
        embed(imported.path, out=tmp_path / "x.npz")
    with pytest.raises(ConfigError, match="no training to resume"):
        resume(imported.path)


def test_a_backbone_without_heads(tmp_path: Path, photos: Path) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    run = import_checkpoint(tmp_path / "resnet18.pth", out=tmp_path / "run")
    assert run.imported is not None
    assert run.imported.heads == ()
    network = Run.open(run.path).load_network()
    assert network.heads == ()
    assert list(network.parts(torch.zeros(1, 512))) == ["whole"]
    assert not run.untrained
    with pytest.raises(ConfigError, match="these weights have no rotation head"):
        load_backbone(run.path).rotation(torch.zeros(1, 3, 224, 224))


def test_imports_are_compared_as_trained_networks(tmp_path: Path, photos: Path) -> None:
    """Also where the file does not say for how many epochs."""
    for seed in (1, 2):
        file = tmp_path / f"{seed}.pth"
        torch.save(nin_state(3, torch.Generator().manual_seed(seed)), file)
        run = import_checkpoint(file, out=tmp_path / str(seed))
        assert run.config.run.epochs == 0
        probe(run.path, photos, kind="knn", seeds=1, untrained=False, workers=0)
    runs = [tmp_path / "1", tmp_path / "2"]
    result = compare(runs, out=tmp_path / "comparison.json")
    labels = [group.label for group in result.groups]
    assert [label.rsplit(" ", 1)[0] for label in labels[:2]] == [
        "rotnet nin3, imported 1.pth",
        "rotnet nin3, imported 2.pth",
    ]


def test_nothing_is_written_before_all_fits(checkpoint: Path, tmp_path: Path) -> None:
    stored = torch.load(checkpoint, weights_only=True)
    stored["network"].popitem()
    torch.save(stored, tmp_path / "partial")
    with pytest.raises(CheckpointError, match=r"missing \(1\)"):
        import_checkpoint(tmp_path / "partial", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_directory_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="choose another --out"):
            import_checkpoint(checkpoint, out=tmp_path, overwrite=overwrite)
    assert (tmp_path / "photo.jpg").exists()


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", str(checkpoint), "--out", str(tmp_path / "run")]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "RotNet's Network-in-Network of 3 blocks: all 56 tensors" in said.replace("\n", " ")
    assert "heads: rotation head" in said
    assert f"next: quarterturn probe {tmp_path / 'run'} DATA" in " ".join(said.split())
    assert "mean 0.4914, 0.4824, 0.4467" in said.replace("\n", " ")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["data"] is None
    assert main(words) == 2
    assert "exists; choose another --out" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert main(["import", str(tmp_path / "none"), "--out", str(tmp_path / "other")]) == 2
    assert "no file at" in capsys.readouterr().err
