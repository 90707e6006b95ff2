from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from quarterturn import files
from quarterturn.engine.checkpoint import load_checkpoint, save_checkpoint
from quarterturn.errors import CheckpointError

STATE = {"step": 3, "weights": torch.arange(6.0).view(2, 3), "names": ["a", "b"], "none": None}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.ckpt", STATE)
    loaded = load_checkpoint(tmp_path / "last.ckpt")
    assert loaded["step"] == 3
    assert loaded["names"] == ["a", "b"]
    assert loaded["none"] is None
    assert torch.equal(loaded["weights"], STATE["weights"])
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
