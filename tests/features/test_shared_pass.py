"""Several processes extract what one does, and the first of them keeps it."""

from __future__ import annotations

import filecmp
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import extract, random_turns
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config

from ..engine.processes import as_group

IMAGES, BATCH = 13, 2  # seven batches: over three processes, one takes three and two take two
BROKEN = (4, 5, 9)  # a whole batch, and half of one
CROP = DataConfig(image_size=8, eval_crop=1.0, max_bad_fraction=0.5)
STRICT = replace(CROP, max_bad_fraction=0.1)


def features(network: torch.nn.Module) -> NetworkFeatures:
    return NetworkFeatures(network, ("conv1", "fc"))


def extract_in_both_ways(rank: int, folder: str, kept: str) -> None:
    """What `extract` and `cached_features` give, written by every process under its rank."""
    runtime = Runtime("cpu", "32-true")
    torch.manual_seed(0)
    network = build_network(Config().with_settings(backbone="convnet", image_size=8)).eval()
    images, turns = open_source(folder, max_bad_fraction=1.0).train, random_turns(IMAGES, seed=0)
    options = {"turns": turns, "batch_size": BATCH, "runtime": runtime}
    failed: dict[int, str] = {}
    found = extract(images, CROP, network.backbone, failed=failed, **options)
    Path(kept).mkdir(exist_ok=True)
    torch.save(
        {
            "values": torch.from_numpy(found.values),
            "indices": torch.from_numpy(found.indices),
            "failed": failed,
        },
        Path(kept, f"{rank}.pt"),
    )
    store = FeatureCache(Path(kept, "store"))
    parts = cached_features(images, CROP, features(network), store, **options)
    assert list(parts) == (["conv1", "rotation", "invariant", "both"] if rank == 0 else [])
    if rank == 0:
        with pytest.raises(DataError, match="3 of 13 image files cannot be read"):
            extract(images, STRICT, network.backbone, **options)
    else:  # the main process knows of all failures
        assert len(extract(images, STRICT, network.backbone, **options).values) == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos whose headers are whole, some of them cut short."""
    (tmp_path / "photos").mkdir()
    for i in range(IMAGES):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        path = tmp_path / "photos" / f"{i:02d}.png"
        Image.fromarray(pixels).save(path)
        if i in BROKEN:
            path.write_bytes(path.read_bytes()[:-200])
    return tmp_path / "photos"


def test_three_processes_give_the_rows_of_one(folder: Path, tmp_path: Path) -> None:
    kept = [tmp_path / "one", tmp_path / "three"]
    for world_size, place in zip((1, 3), kept, strict=True):
        as_group(world_size, extract_in_both_ways, str(folder), str(place))
    alone, first, second, third = (
        torch.load(path, weights_only=True)
        for path in (kept[0] / "0.pt", *(kept[1] / f"{rank}.pt" for rank in range(3)))
    )
    assert alone["indices"].tolist() == [i for i in range(IMAGES) if i not in BROKEN]
    assert set(alone["failed"]) == set(BROKEN)
    assert first["failed"] == alone["failed"]
    assert torch.equal(first["values"], alone["values"])
    assert torch.equal(first["indices"], alone["indices"])
    assert len(second["values"]) == len(third["values"]) == 0

    files = sorted(path.relative_to(kept[0]) for path in (kept[0] / "store").rglob("*.*"))
    assert len({file.parent for file in files}) == 2  # layers
    assert {file.name for file in files} >= {"indices.npy", "0.npy", "1.npy", "2.npy"}
    same, *others = filecmp.cmpfiles(*kept, files, shallow=False)
    assert (same, others) == (files, [[], []])
