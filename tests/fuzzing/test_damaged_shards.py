"""Damaged shards: each is refused with a reason, or its images are what they were or are listed."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from ..data.pictures import photo
from ..data.shards import image_and_label, write_parquet, write_tar
from .damage import damaged

NUM_IMAGES = 6
CASES = [
    pytest.param(21, 250, id="250"),
    pytest.param(22, 5000, id="5000", marks=pytest.mark.slow),
]
"""Seed and number of damaged files of each kind."""


def pngs() -> list[bytes]:
    contents = []
    for i in range(NUM_IMAGES):
        buffer = io.BytesIO()
        Image.fromarray(photo(i, 12, 14)).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    return contents


def write(path: Path, kind: str) -> bytes:
    contents = pngs()
    if kind == "tar":
        members = [
            m
            for i, x in enumerate(contents)
            for m in ((f"{i}.cls", b"%d" % (i % 2)), (f"{i}.png", x))
        ]
        return write_tar(path, members).read_bytes()
    columns = {"image": contents, "label": [i % 2 for i in range(NUM_IMAGES)]}
    features = image_and_label(["a", "b"])
    return write_parquet(path, columns, features, rows_in_group=2).read_bytes()


def scattered(draw: np.random.Generator, content: bytes) -> bytes:
    """Damage to one of the headers of members, or to the metadata behind the rows."""
    changed = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        start = int(draw.integers(0, len(changed) // 512)) * 512
        changed[min(start + int(draw.integers(0, 160)), len(changed) - 1)] = int(draw.integers(256))
    return bytes(changed)


@pytest.mark.parametrize("kind", ["tar", "parquet"])
@pytest.mark.parametrize(("seed", "cases"), CASES)
def test_a_shard_is_read_or_refused(tmp_path, recwarn, kind, seed, cases):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"x.{kind}"
    whole, draw, read = write(path, kind), np.random.default_rng(seed), 0
    reasons: set[str] = set()
    for case in range(cases):
        path.write_bytes((damaged if case % 2 else scattered)(draw, whole))
        try:
            source = open_source(str(path), max_bad_fraction=1.0, min_images=0, verify=True)
        except DataError as error:
            reasons.add(str(error))
        else:
            read += 1
            assert all(source.unreadable.values())
            assert_no_image_is_lost(source, kind)
    assert cases / 20 < read < cases
    assert all(f"x.{kind}" in reason and "\n" not in reason for reason in reasons)
    assert not recwarn.list


def assert_no_image_is_lost(source: Source, kind: str) -> None:
    """Every image is there, listed, or has a name by which it is counted as something else."""
    found = len(source.train) + len(source.unreadable)
    assert found + sum(source.ignored.values()) + source.num_heic >= NUM_IMAGES
    assert len(set(source.train.names)) == len(source.train)
    assert all(name.startswith(f"x.{kind}/") for name in source.train.names)


def test_the_writers_of_these_shards_write_whole_ones(tmp_path):
    write(tmp_path / "x.tar", "tar")
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert len(archive.getnames()) == 2 * NUM_IMAGES
