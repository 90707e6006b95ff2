"""What holds for every test. The fixtures that rooms share are in `tests/fixtures/`, by topic."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import numpy as np
import pytest
import torch
from hypothesis import settings
from matplotlib.figure import Figure

DATA_TOPICS = ("images", "photos", "voc", "detection")
TOPICS = (*DATA_TOPICS, "browser", "clocks", "narration", "networks", "runs")
pytest_plugins = [f"tests.fixtures.{topic}" for topic in TOPICS]

settings.register_profile("here", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("here")  # the same cases each time, and no limit that a busy machine misses

MOST_WORKERS = 8  # each takes a gigabyte of memory


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Workers of ``pytest -n auto``; on a single core none, since one would only cost its start."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if cores == 1 else min(cores or 1, MOST_WORKERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed travels from a worker as UTF-8, which a name of a file need not be."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """On tensors this small a second thread costs more than it gives."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """A run makes hundreds of files; no test can see whether they outlast a power failure.

    That they are flushed, and when, is what `tests/test_files.py` asserts.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_layout_of_figures() -> Iterator[None]:
    """Placing the axes takes more than half the time of a figure, and each small run draws several.

    What a test asserts of a figure is its data and its texts; where the axes lie is seen by eye.
    Without an engine matplotlib does not draw each figure twice, either.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "set_layout_engine", lambda *arguments, **options: None)
        yield


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Networks that a test builds have the same weights each time."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator that begins anew for each test."""
    return np.random.default_rng(0)
