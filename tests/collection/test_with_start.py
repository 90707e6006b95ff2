"""Features beside those of the weights that a run began with, where commands take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn import CheckpointError, ConfigError, Embedder, embed, neighbors, pretrain
from quarterturn.collection.neighbor_sheet import neighbors_table
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.sources import open_source
from quarterturn.runs import Run

HALF = {"half": "with-start", "device": "cpu"}


@pytest.fixture(scope="module")
def taught(digits_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "taught"
    common = {"epochs": 1, "limit": 200, "image_size": 16, "workers": 0, "device": "cpu"}
    return pretrain(
        "digits", out=out, method="distill", start=digits_run.path, diagnostics=False, **common
    )


def test_both_features_have_length_one(taught: Run, digits_run: Run, tmp_path: Path) -> None:
    found = np.load(embed(taught.path, out=tmp_path / "x.npz", **HALF))["embeddings"]
    assert found.shape == (1797, 128 + 256)
    batch = next(evaluation_batches(open_source("digits").train, taught.config.data))
    own, start = taught.load_network(), digits_run.load_network()
    with torch.no_grad():
        invariant = own.backbone(batch.images)[:, 128:]
        whole = start.backbone(batch.images)
    assert not torch.allclose(own.backbone(batch.images), whole)
    expected = torch.cat([F.normalize(invariant), F.normalize(whole)], dim=1).numpy()
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 2**0.5, rtol=1e-5)


def test_neighbours_are_by_the_mean_of_the_cosines(taught: Run) -> None:
    name = open_source("digits").train.names[0]
    by = {
        half: neighbors(taught.path, name, half=half, k=1796, device="cpu", workers=0)
        for half in ("with-start", "invariant")
    }
    assert by["with-start"]["features"] == "with-start"
    title = neighbors_table(by["with-start"]).title
    assert title.endswith("invariant half with the start's feature")
    cosines = {
        half: {one["name"]: one["cosine"] for one in result["neighbors"]}
        for half, result in by.items()
    }
    start = neighbors(
        taught.kept_start, name, half="both", k=1796, device="cpu", workers=0, data="digits"
    )
    other = start["neighbors"][700]
    mean = (cosines["invariant"][other["name"]] + other["cosine"]) / 2
    assert cosines["with-start"][other["name"]] == pytest.approx(mean, abs=1e-4)


def test_the_embedder_takes_it(taught: Run, tmp_path: Path) -> None:
    embedder = Embedder(taught.path, half="with-start", device="cpu")
    names = embedder.get_feature_names_out()
    assert (names[0], len(names)) == ("with-start0", 384)
    pixels = open_source("digits").train.pixels[:5]
    expected = np.load(embed(taught.path, out=tmp_path / "x.npz", **HALF))["embeddings"][:5]
    np.testing.assert_allclose(embedder.transform(pixels), expected, atol=1e-5)


def test_what_is_refused(digits_run: Run, taught: Run, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    with pytest.raises(ConfigError, match="this run did not begin with weights"):
        embed(digits_run.path, out=out, **HALF)
    with pytest.raises(ConfigError, match="give --half or --layer, not both"):
        embed(taught.path, out=out, layer="conv1", **HALF)
    assert not out.exists()
    kept, hidden = taught.kept_start, tmp_path / "hidden"
    kept.rename(hidden)
    try:
        moved = Run.open(taught.path)
        assert moved.start is not None
        # The run that it began with is still where it was.
        embed(taught.path, out=out, **HALF)
    finally:
        hidden.rename(kept)


def test_a_start_that_is_gone_is_named(taught: Run, tmp_path: Path) -> None:
    config = taught.path / "config.json"
    words = config.read_text("utf-8")
    kept, hidden = taught.kept_start, tmp_path / "hidden"
    kept.rename(hidden)
    config.write_text(words.replace(str(taught.start), str(tmp_path / "gone")), "utf-8")
    try:
        with pytest.raises(CheckpointError, match="gone"):
            embed(taught.path, out=tmp_path / "x.npz", **HALF)
    finally:
        config.write_text(words, "utf-8")
        hidden.rename(kept)
