import pytest

from quarterturn.config import shared
from quarterturn.config.shared import ComputeOptions, usable_cores


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [(1, 1, 1), (2, 1, 1), (8, 1, 7), (8, 2, 3), (8, 8, 1), (128, 1, 16), (128, 4, 16)],
)
def test_workers_leave_each_process_a_core(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(shared, "usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert ComputeOptions(workers="auto").num_workers == expected
    assert ComputeOptions(workers=5).num_workers == 5
    assert ComputeOptions(workers=0).num_workers == 0


def test_cores_of_others_do_not_count(monkeypatch):
    monkeypatch.setattr(shared.os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert usable_cores() == 2
