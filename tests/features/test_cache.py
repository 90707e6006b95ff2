import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.features.cache import FeatureCache, MemoryWriter
from quarterturn.features.network_features import weights_fingerprint

ABOUT = {
    "weights": "0123",
    "layers": ("conv1", "fc"),
    "grid": 1,
    "images": "4567",
    "folder": None,
    "image_size": 16,
    "eval_crop": 0.875,
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
}

ODD_VALUES = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -3.4028235e38, 1 / 3], dtype=np.float32
)


@pytest.fixture
def store(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "run" / "features")


def bits(values: np.ndarray) -> np.ndarray:
    return np.asarray(values).view(np.uint32)


def write(store: FeatureCache, key: str, parts: dict[str, np.ndarray], cut: int = 3):
    """Keep parts of n rows in batches of ``cut`` rows."""
    n = len(next(iter(parts.values())))
    writer = store.writer(key, n)
    for start in range(0, n, cut):
        for name, values in parts.items():
            writer.append(name, values[start : start + cut])
    return writer.finish(np.arange(n))


def entries(store: FeatureCache) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


class TestEntry:
    def test_values_come_back_to_the_bit(self, store, rng):
        parts = {
            "conv1": rng.normal(size=(8, 5)).astype(np.float32),
            "fc/with a slash": np.tile(ODD_VALUES[:, None], (1, 3)),
            "map": rng.normal(size=(8, 2, 3, 4)).astype(np.float32),
        }
        written = write(store, "k", parts)
        for indices, found in (written, store.read("k"), FeatureCache(store.folder).read("k")):
            assert indices.dtype == np.int64
            assert indices.tolist() == list(range(8))
            assert list(found) == list(parts)
            for name, values in found.items():
                assert values.dtype == np.float32
                assert values.shape == parts[name].shape
                np.testing.assert_array_equal(bits(values), bits(parts[name]))

    def test_is_memory_mapped_and_writes_stay_in_memory(self, store, rng):
        values = rng.normal(size=(4, 5)).astype(np.float32)
        _, written = write(store, "k", {"fc": values})
        for found in (written, store.read("k")[1]):
            assert isinstance(found["fc"], np.memmap)
            torch.from_numpy(found["fc"])[:] = 7  # no warning, since torch may write
            np.testing.assert_array_equal(found["fc"], 7)
        np.testing.assert_array_equal(store.read("k")[1]["fc"], values)

    def test_is_a_folder_of_plain_files(self, store, rng):
        parts = {name: rng.normal(size=(4, 2)).astype(np.float32) for name in ("b", "a")}
        write(store, "k", parts)
        folder = store.folder / "k"
        assert json.loads((folder / "parts.json").read_text()) == ["b", "a"]
        np.testing.assert_array_equal(np.load(folder / "0.npy"), parts["b"])
        np.testing.assert_array_equal(np.load(folder / "1.npy"), parts["a"])
        assert sorted(p.name for p in folder.iterdir()) == [
            "0.npy",
            "1.npy",
            "checksums.json",
            "indices.npy",
            "parts.json",
        ]

    def test_fewer_images_than_announced(self, store, rng):
        """Files that fail leave no rows: not at the place of their number, nor at the end."""
        values = rng.normal(size=(10, 3)).astype(np.float32)
        kept = np.array([0, 2, 3, 7, 9])
        writer = store.writer("k", 10)
        for rows in ([0], [2, 3], [7, 9]):
            writer.append("fc", values[rows])
        for indices, found in (writer.finish(kept), store.read("k")):
            assert indices.tolist() == kept.tolist()
            np.testing.assert_array_equal(found["fc"], values[kept])

    def test_more_images_than_announced_are_refused(self, store):
        writer = store.writer("k", 3)
        writer.append("fc", np.zeros((2, 4), np.float32))
        with pytest.raises(ValueError, match="broadcast"):
            writer.append("fc", np.zeros((2, 4), np.float32))

    def test_memory_gives_the_same(self, store, rng):
        parts = {name: rng.normal(size=(7, 2)).astype(np.float32) for name in ("b", "a")}
        _, on_disk = write(store, "k", parts)
        memory = MemoryWriter()
        for start in range(0, 7, 3):
            for name, values in parts.items():
                memory.append(name, values[start : start + 3])
        indices, found = memory.finish(np.arange(7))
        assert indices.tolist() == list(range(7))
        assert list(found) == list(on_disk)
        for name, values in found.items():
            np.testing.assert_array_equal(values, on_disk[name])


class TestWholeOrNotAtAll:
    def test_nothing_is_there_before_the_end(self, store):
        assert not store.has("k")
        writer = store.writer("k", 4)
        assert not store.has("k")
        writer.append("fc", np.ones((4, 2), np.float32))
        assert not store.has("k")
        writer.finish(np.arange(4))
        assert store.has("k")
        assert not store.has("another")
        assert entries(store) == ["k"]

    def test_what_was_left_by_one_that_was_stopped_is_replaced(self, store, rng):
        stopped = store.writer("k", 9)
        stopped.append("old", np.ones((5, 7), np.float32))
        other = store.writer("other", 3)
        other.append("fc", np.ones((3, 2), np.float32))
        (store.folder / "k.partial").mkdir()  # by an earlier version
        values = rng.normal(size=(4, 2)).astype(np.float32)
        indices, found = write(store, "k", {"fc": values})
        assert indices.tolist() == [0, 1, 2, 3]
        assert list(found) == ["fc"]
        np.testing.assert_array_equal(found["fc"], values)
        other.finish(np.arange(3))  # has lost nothing
        np.testing.assert_array_equal(store.read("other")[1]["fc"], 1)
        assert entries(store) == ["k", "other"]

    def test_what_is_given_up_leaves_nothing(self, store):
        writer = store.writer("k", 4)
        writer.append("fc", np.ones((4, 2), np.float32))
        writer.discard()
        assert not store.has("k")
        assert entries(store) == []

    @pytest.mark.parametrize("first", [0, 1])
    def test_two_writers_of_one_entry(self, store, rng, first):
        """As two processes that probe one run: whoever is first, both get the whole."""
        values = rng.normal(size=(6, 2)).astype(np.float32)
        writers = [store.writer("k", 6) for _ in range(2)]
        late = store.writer("k", 6)
        writers[0].append("fc", values[:4])
        writers[1].append("fc", values[:2])
        writers[0].append("fc", values[4:])
        if first == 1:
            writers[1].append("fc", values[2:])
            writers.reverse()
        one = writers[0].finish(np.arange(6))
        if first == 0:
            writers[1].append("fc", values[2:])
        late.append("fc", values)  # begins when the entry is there already
        for indices, found in (
            one,
            writers[1].finish(np.arange(6)),
            late.finish(np.arange(6)),
            store.read("k"),
        ):
            assert indices.tolist() == list(range(6))
            np.testing.assert_array_equal(found["fc"], values)
        assert entries(store) == ["k"]

    def test_a_disk_that_fails_is_no_quicker_writer(self, store, monkeypatch):
        writer = store.writer("k", 4)
        writer.append("fc", np.ones((4, 2), np.float32))

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left"):
            writer.finish(np.arange(4))
        assert not store.has("k")

    def test_a_full_disk_is_an_error_before_anything_is_mapped(self, store, monkeypatch):
        """Met in a mapped file, it would kill the process instead."""

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space left"):
            store.writer("k", 4).append("fc", np.ones((4, 2), np.float32))

    def test_an_entry_made_while_files_failed_is_made_again(self, store, rng):
        values = rng.normal(size=(4, 2)).astype(np.float32)
        writer = store.writer("k", 4)
        writer.append("fc", values[:3])
        writer.finish(np.arange(3))
        write(store, "k", {"fc": values})
        assert store.read("k")[0].tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(store.read("k")[1]["fc"], values)
        assert entries(store) == ["k"]

    def test_an_entry_may_be_deleted_and_made_again(self, store, rng):
        values = rng.normal(size=(4, 2)).astype(np.float32)
        write(store, "k", {"fc": values})
        for path in (store.folder / "k").iterdir():
            path.unlink()
        (store.folder / "k").rmdir()
        assert not store.has("k")
        np.testing.assert_array_equal(write(store, "k", {"fc": values})[1]["fc"], values)


class TestKey:
    def test_is_always_the_same(self):
        key = FeatureCache.key(ABOUT, None)
        assert key == FeatureCache.key(dict(ABOUT), None)
        assert Path(key).name == key
        turns = torch.tensor([0, 3, 1])
        assert FeatureCache.key(ABOUT, turns) == FeatureCache.key(ABOUT, turns.clone())
        assert FeatureCache.key(ABOUT, turns) == FeatureCache.key(ABOUT, turns.int())

    def test_not_by_the_order_of_words(self):
        turned_round = dict(reversed(ABOUT.items()))
        assert list(turned_round) != list(ABOUT)
        assert FeatureCache.key(turned_round, None) == FeatureCache.key(ABOUT, None)

    def test_changes_with_each_ingredient(self):
        others = {
            "weights": "0124",
            "layers": ("fc", "conv1"),
            "grid": 2,
            "images": "4568",
            "folder": "/photos",
            "image_size": 17,
            "eval_crop": 0.8750001,
            "mean": (0.1, 0.2, 0.30000001),
            "std": (0.4, 0.6, 0.5),
        }
        assert others.keys() == ABOUT.keys()
        keys = {FeatureCache.key({**ABOUT, name: value}, None) for name, value in others.items()}
        keys |= {FeatureCache.key({**ABOUT, "another": 1}, None), FeatureCache.key(ABOUT, None)}
        assert len(keys) == len(ABOUT) + 2

    def test_changes_with_the_turns(self):
        turns = [None, [0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0, 0]]
        keys = {FeatureCache.key(ABOUT, None if t is None else torch.tensor(t)) for t in turns}
        assert len(keys) == len(turns)

    def test_changes_with_the_format(self, monkeypatch):
        before = FeatureCache.key(ABOUT, None)
        monkeypatch.setattr("quarterturn.features.cache.FORMAT", 2)
        assert FeatureCache.key(ABOUT, None) != before


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 2))


class TestWeightsFingerprint:
    def test_of_equal_weights_is_equal(self):
        one, other = network(), network()
        assert one[1].num_batches_tracked.ndim == 0
        assert weights_fingerprint(one) == weights_fingerprint(other)
        one.eval().requires_grad_(False)
        assert weights_fingerprint(one) == weights_fingerprint(other)

    def test_does_not_know_how_weights_lie_in_memory(self):
        one = network()
        before = weights_fingerprint(one)
        one.to(memory_format=torch.channels_last)
        assert not one[0].weight.is_contiguous()
        assert weights_fingerprint(one) == before

    def changed(self, change) -> bool:
        module = network()
        before = weights_fingerprint(module)
        change(module)
        return weights_fingerprint(module) != before

    @pytest.mark.parametrize("name", network().state_dict())
    def test_changes_with_one_value_of_anything(self, name):
        def change(module: nn.Module) -> None:
            values = module.state_dict()[name].view(-1)
            if values.dtype == torch.float32:
                last = values[-1].item()
                values[-1] = float(np.nextafter(np.float32(last), np.float32(9)))
                assert values[-1].item() != last
            else:
                values[-1] += 1

        assert self.changed(change)

    def test_changes_where_two_values_change_places(self):
        assert self.changed(lambda m: m[2].weight.data.copy_(m[2].weight.data.flip(0)))

    def test_changes_with_a_name(self):
        one, other = nn.Module(), nn.Module()
        one.first, other.second = nn.Linear(2, 2), nn.Linear(2, 2)
        other.second.load_state_dict(one.first.state_dict())
        assert weights_fingerprint(one) != weights_fingerprint(other)

    def test_changes_with_a_shape(self):
        assert self.changed(lambda m: setattr(m[2], "weight", nn.Parameter(m[2].weight.view(4, 2))))
        assert self.changed(
            lambda m: m[1].register_buffer("num_batches_tracked", torch.zeros(1, dtype=torch.int64))
        )

    def test_changes_with_a_type_of_the_same_bits(self):
        assert not network()[1].running_mean.any()
        assert self.changed(
            lambda m: m[1].register_buffer("running_mean", torch.zeros(4, dtype=torch.int32))
        )
        assert self.changed(lambda m: m[2].double())

    def test_counts_what_is_added(self):
        assert self.changed(lambda m: m.register_buffer("more", torch.zeros(0)))
        assert self.changed(lambda m: m.append(nn.Linear(2, 2)))
        assert not self.changed(lambda m: m.append(nn.ReLU()))


DAMAGES = ("flip", "cut", "empty", "remove")


def damage(file: Path, how: str, place: int) -> None:
    content = bytearray(file.read_bytes())
    if how == "remove":
        file.unlink()
    elif how == "flip":
        content[place // 8 % len(content)] ^= 1 << place % 8
        file.write_bytes(content)
    else:
        file.write_bytes(content[: place % len(content)] if how == "cut" else b"")


@pytest.mark.parametrize("number", range(40))
def test_no_damaged_entry_is_read(store, caplog, number):
    """Forty files, each damaged in one way at one place that the seed draws."""
    random = np.random.default_rng(number)
    parts = {name: random.normal(size=(6, 5)).astype(np.float32) for name in ("rotation", "whole")}
    write(store, "k", parts)
    files = sorted(file for file in (store.folder / "k").iterdir())
    file = files[number % len(files)]
    how = DAMAGES[number // len(files) % len(DAMAGES)]
    damage(file, how, int(random.integers(1 << 20)))
    again = FeatureCache(store.folder)
    if (file.name, how) == ("checksums.json", "remove"):  # then it is as earlier versions wrote it
        assert again.has("k")
        np.testing.assert_array_equal(again.read("k")[1]["whole"], parts["whole"])
        return
    assert not again.has("k")
    assert "are damaged" in caplog.text
    assert str(store.folder / "k") in caplog.text
    assert not (store.folder / "k").exists()
    write(again, "k", parts)
    assert again.has("k")
    assert FeatureCache(store.folder).has("k")


def test_entries_of_earlier_versions_are_read(store, rng, caplog):
    values = rng.normal(size=(4, 2)).astype(np.float32)
    write(store, "k", {"whole": values})
    (store.folder / "k" / "checksums.json").unlink()
    assert FeatureCache(store.folder).has("k")
    (store.folder / "k" / "parts.json").write_text("nonsense")
    assert not FeatureCache(store.folder).has("k")
    assert "parts.json is damaged: Expecting value" in caplog.text
