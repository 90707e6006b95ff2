from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn import files
from quarterturn.engine.checkpoint import load_checkpoint, not_finite, save_checkpoint
from quarterturn.errors import CheckpointError

STATE = {
    "step": 3,
    "network": {"weights": torch.arange(6.0).view(2, 3)},
    "names": ["a", "b"],
    "none": None,
}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.ckpt", STATE)
    loaded = load_checkpoint(tmp_path / "last.ckpt")
    assert loaded["step"] == 3
    assert loaded["names"] == ["a", "b"]
    assert loaded["none"] is None
    assert torch.equal(loaded["network"]["weights"], STATE["network"]["weights"])
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, STATE)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left.*previous checkpoint is whole"):
        save_checkpoint(path, {**STATE, "step": 4})
    assert load_checkpoint(path)["step"] == 3
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_full_disk_in_the_middle_of_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full fails as a full disk does: within torch's own writer."""
    partial = tmp_path / "last.ckpt.partial"
    partial.symlink_to("/dev/full")
    monkeypatch.setattr(files, "beside", lambda path: partial)
    with pytest.raises(CheckpointError, match=r"No space left on device.*there is no earlier"):
        save_checkpoint(tmp_path / "last.ckpt", {"weights": torch.zeros(1 << 16)})
    assert os.listdir(tmp_path) == []


class Intruder:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("intruder-was-here"),))


def test_nothing_but_tensors_and_plain_values_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": Intruder()}, tmp_path / "bad.ckpt")
    (tmp_path / "worse.ckpt").write_bytes(pickle.dumps(Intruder(), protocol=2))
    for name in ("bad.ckpt", "worse.ckpt"):
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "intruder-was-here").exists()


def test_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "none.ckpt")
    save_checkpoint(tmp_path / "last.ckpt", STATE)
    whole = (tmp_path / "last.ckpt").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.ckpt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            load_checkpoint(tmp_path / "cut.ckpt")


def test_no_flipped_bit_is_read_silently(tmp_path: Path, rng: np.random.Generator) -> None:
    """Forty checkpoints with one flipped bit: refused, or the same values (alignment is free)."""
    path, refused = tmp_path / "last.ckpt", 0
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    for bit in rng.choice(8 * len(whole), 40, replace=False).tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert {**loaded, "network": None} == {**STATE, "network": None}
            assert torch.equal(loaded["network"]["weights"], STATE["network"]["weights"])
    assert refused >= 15  # most of so small a file is padding


def test_every_flipped_bit_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, STATE)
    whole = path.read_bytes()
    start = whole.index(STATE["network"]["weights"].numpy().tobytes())
    for bit in range(0, 8 * 24, 7):
        damaged = bytearray(whole)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="Bad CRC-32"):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [([1, 2], "a list"), ({}, "it is empty"), ({"step": 3}, "it has step"), (3.5, "a float")],
)
def test_a_file_without_a_network(tmp_path: Path, stored: object, reason: str) -> None:
    torch.save(stored, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=f"last.ckpt holds no network: {reason}; put a copy"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("hello")
    with pytest.raises(CheckpointError, match="it is damaged: File is not a zip file"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("links", [True, False])
def test_the_checkpoint_before_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2, 3):
        save_checkpoint(path, {**STATE, "step": step}, previous=previous)
        assert load_checkpoint(path)["step"] == step
        assert not previous.exists() or load_checkpoint(previous)["step"] == step - 1
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "previous.ckpt"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"rename .*previous.ckpt to last.ckpt and resume"):
        load_checkpoint(path, previous=previous)
    previous.write_bytes(b"no better")
    with pytest.raises(CheckpointError, match="put a copy of it back"):
        load_checkpoint(path, previous=previous)


def test_numbers_that_are_not_finite_are_named() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    others = {"optimizer": {"state": {0: {"momentum_buffer": torch.zeros(6)}, 1: {"step": 3}}}}
    assert not_finite(network, others) is None
    with torch.no_grad():
        network[0].weight.fill_(3e38)  # whose sum is infinite
    assert not_finite(network, others) is None
    others["optimizer"]["state"][0]["momentum_buffer"][3] = float("inf")
    assert not_finite(network, others) == "optimizer.state.0.momentum_buffer"
    network[1].running_var[1] = float("nan")
    assert not_finite(network, others) == "network.1.running_var"
    with torch.no_grad():
        network[0].weight[1, 2] = float("-inf")
    assert not_finite(network) == "network.0.weight"


def test_the_log_prior_of_an_empty_class_is_no_error() -> None:
    network = nn.Linear(3, 2)
    network.register_buffer("log_priors", torch.tensor([0.0, float("-inf")]))
    assert not_finite(network) is None
    network.log_priors[0] = float("inf")
    assert not_finite(network) == "network.log_priors"
