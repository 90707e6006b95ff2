from __future__ import annotations

import re
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quarterturn.errors import CheckpointError
from quarterturn.kept_files import (
    check_archive,
    checksum,
    read_json,
    read_json_lines,
    read_object,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"a": 1', "Expecting ',' delimiter"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 10_000, "Exceeds the limit"),
    ],
)
def test_damaged_json(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"x.json is damaged: .*{reason}"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(("text", "found"), [("[1]", "list"), ("3", "int"), ("null", "NoneType")])
def test_json_that_is_no_object(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CheckpointError, match=f"it holds a {found}; expected names with values"):
        read_object(tmp_path / "x.json")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(CheckpointError, match="is damaged: 'utf-8' codec"):
        read_object(tmp_path / "x.json")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    for read in (read_json, read_json_lines):
        with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
            read(tmp_path)


def test_a_missing_file_is_the_callers_business(tmp_path: Path) -> None:
    for read in (read_json, read_object, read_json_lines):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.json")


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for text, expected in [("", {}), ('{"a": 1}\n{"a": 2}\n', {1: {"a": 1}, 2: {"a": 2}})]:
        path.write_text(text)
        assert read_json_lines(path) == (expected, {})
    path.write_text('{"a": 1}\n{"a": 2')  # a process that was killed, or is writing
    assert read_json_lines(path) == ({1: {"a": 1}}, {})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a":', "is no JSON"),
        ("[3]", "holds a list"),
        ("", "is no JSON"),
        ("[" * 100_000, "is no JSON .it is nested too deeply"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"a": 1}}\n{line}\n{{"a": 2}}\n')
    lines, damaged = read_json_lines(tmp_path / "x.jsonl")
    assert lines == {1: {"a": 1}, 3: {"a": 2}}
    assert list(damaged) == [2]
    assert re.match(reason, damaged[2])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    for read in (read_json, read_object, read_json_lines, check_archive):
        with suppress(CheckpointError):
            read(path)
    assert path.read_bytes() == content


def test_an_archive_is_compared_with_its_checksums(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "x.pt"
    values = torch.from_numpy(rng.normal(size=5000))
    torch.save({"values": values}, path)
    whole = path.read_bytes()
    check_archive(path)
    start = whole.index(values.numpy().tobytes())
    for place in (start + rng.integers(0, 40_000, 20)).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"x\.pt is damaged: Bad CRC-32"):
            check_archive(path)
        check_archive(path, only="data.pkl")


def test_archives_without_checksums_are_accepted_on_demand(tmp_path: Path) -> None:
    path, former = tmp_path / "x.pt", tmp_path / "former.pt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(torch.ones(9), path)
    finally:
        torch.serialization.set_crc32_options(before)
    torch.save(torch.ones(9), former, _use_new_zipfile_serialization=False)
    for file in (path, former):
        check_archive(file, unchecked=True)
        with pytest.raises(CheckpointError, match=re.escape(f"{file} is damaged")):
            check_archive(file)


def test_checksum_of_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    content = rng.bytes((1 << 20) + 77)  # more than one block
    (tmp_path / "x").write_bytes(content)
    assert checksum(tmp_path / "x") == zlib.crc32(content)
