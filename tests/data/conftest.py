"""Images in files and in memory; real photos, where the repository has its neighbour `shared`."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.imageset import ArrayImages, FileImages

from .pictures import noise, save_photos

HOUSES = Path(__file__).parents[2] / ".." / "shared" / "data" / "houses.tar"


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four classes with 12 photos each, upright JPEGs of 160 px and more."""
    if not HOUSES.exists():
        pytest.skip(f"no real photos here: {HOUSES.name} is not beside the repository")
    folder = tmp_path_factory.mktemp("houses")
    taken: dict[str, int] = {}
    with tarfile.open(HOUSES) as archive:
        for member in archive:
            kind = Path(member.name).parent.name
            if member.isfile() and taken.get(kind, 0) < 12:
                taken[kind] = taken.get(kind, 0) + 1
                archive.extract(member, folder, filter="data")
    return folder / "houses"


@pytest.fixture
def files(tmp_path) -> FileImages:
    return save_photos(tmp_path, 23)


@pytest.fixture
def arrays() -> ArrayImages:
    return ArrayImages(
        noise(0, 23, 24, 24, 3), [f"{i}" for i in range(23)], np.arange(23) % 4, list("abcd")
    )
