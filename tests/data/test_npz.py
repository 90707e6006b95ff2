"""Arrays in ``.npz`` files that promise more than they hold, or numbers that are no classes."""

import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterturn.data.npz import read_npz
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import noise


def write_header(path: Path, shape: tuple[int, ...], content: bytes, name: str = "train_images"):
    """A file whose array says that it has a shape, whatever it holds."""
    head = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", head.getvalue() + content)
    return str(path)


def test_shapes_are_judged_before_anything_is_read(tmp_path):
    data = write_header(tmp_path / "x.npz", (10**6, 10**4, 10**4), bytes(100))
    with pytest.raises(DataError, match=r"takes 100,000,000,000,000 bytes; the file has 100$"):
        open_source(data)


def test_images_beyond_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("quarterturn.data.npz._memory", lambda: 8 * 5 * 5 * 3 - 1)
    np.savez(tmp_path / "x.npz", train_images=noise(0, 8, 5, 5))
    with pytest.raises(DataError, match="and this machine has"):
        open_source(str(tmp_path / "x.npz"))


@pytest.mark.parametrize("label", [2**40, 900_000, 30_000])
def test_labels_that_number_no_classes_are_refused(tmp_path, label):
    labels = np.zeros(48, np.int64)
    labels[7] = label
    np.savez(tmp_path / "x.npz", train_images=noise(0, 48, 5, 5), train_labels=labels)
    with pytest.raises(DataError, match=rf"train_labels has the label {label}; expected an int"):
        open_source(str(tmp_path / "x.npz"))


def test_labels_of_a_larger_data_set_are_taken(tmp_path):
    labels = np.arange(48) + 21_000  # of ImageNet-21k, for one
    np.savez(tmp_path / "x.npz", train_images=noise(0, 48, 5, 5), train_labels=labels)
    assert len(open_source(str(tmp_path / "x.npz")).train.class_names) == 21_048


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, train_images=noise(0, 8, 50, 50))
    content = bytearray(path.read_bytes())
    content[5000] ^= 16
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a readable \.npz file: Bad CRC-32"):
        read_npz(path)


@given(st.binary(max_size=300), st.integers(0, 600), st.sampled_from(["head", "middle", "tail"]))
def test_damaged_files_are_refused_in_words(tmp_path_factory, junk, place, part):
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    np.savez(path, train_images=noise(0, 8, 6, 6), train_labels=np.arange(8))
    whole = path.read_bytes()
    start = {"head": place, "middle": place + len(whole) // 3, "tail": len(whole) - place}[part]
    damaged = whole[:start] + junk + whole[start + len(junk) :]
    path.write_bytes(damaged)
    with suppress(DataError):  # any other error fails
        # Where it is read, the junk lies outside the arrays.
        found = read_npz(path)["train"].pixels[..., 0]
        np.testing.assert_array_equal(found, noise(0, 8, 6, 6))
