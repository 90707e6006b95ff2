from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.sources import open_source
from quarterturn.inspecting import advice as module
from quarterturn.inspecting.advice import all_advice, fitting_size, pretrain_words
from quarterturn.inspecting.class_counts import ClassCounts
from quarterturn.inspecting.finding_kinds import ACROSS, UNREADABLE, WITHIN
from quarterturn.inspecting.findings import Find, Finding
from quarterturn.inspecting.inspection import Inspection, inspect
from quarterturn.inspecting.training_cost import TrainingCost
from quarterturn.presets import preset
from quarterturn.runs.time_budget import Cost
from tests.inspecting.ward import build_healthy

GB = 10**9


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    folder = build_healthy(tmp_path_factory.mktemp("advice") / "clean", 16)
    return inspect(open_source(str(folder)))


@pytest.fixture
def cost() -> TrainingCost:
    """Of a machine on which nothing is wanting: an epoch of a second, and room enough."""
    return TrainingCost(
        config=preset("folder"),
        device="cpu",
        time=Cost(step_s=1.0, steps_per_epoch=1),
        memory_bytes=GB,
        free_bytes=8 * GB,
        run_bytes=GB,
        free_disk_bytes=100 * GB,
        cache_bytes=GB,
        image_s=0.001,
    )


def uses(
    found: Inspection,
    cost: TrainingCost | None,
    findings: list[Finding] | None = None,
    train: dict[str, int] | None = None,
    preset: str = "digits",
) -> list[str]:
    advice = all_advice(
        preset,
        found,
        findings or [],
        ClassCounts({"train": train or {}}),
        cost,
        recipe_size=128,
        max_bad_fraction=0.05,
    )
    assert all(one.reason for one in advice)
    return [one.use for one in advice]


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 2)


def test_nothing_is_advised_where_nothing_is_wanting(found: Inspection, cost: TrainingCost) -> None:
    assert uses(found, cost) == []
    assert uses(found, None) == []


def test_few_photos_are_learned_from_trained_weights(found: Inspection, cost: TrainingCost) -> None:
    assert uses(found, cost, preset="folder") == ["--from FILE, or --from timm:NAME"]


@pytest.mark.parametrize(
    ("change", "use"),
    [
        ({"config": preset("folder").with_settings(image_size=64)}, "--image-size 64"),
        ({"time": Cost(step_s=1.0, steps_per_epoch=50)}, "--budget 12h, or another time"),
        ({"image_s": 0.01}, "--cache auto"),
        ({"memory_bytes": 16 * GB}, "--batch-size 18"),
        ({"run_bytes": 200 * GB}, "--out RUN on another disk"),
    ],
)
def test_each_shortage_has_its_flag(
    found: Inspection, cost: TrainingCost, change: dict[str, object], use: str
) -> None:
    assert uses(found, replace(cost, **change)) == [use]  # type: ignore[arg-type]


def test_a_cache_without_room_is_not_advised(found: Inspection, cost: TrainingCost) -> None:
    assert uses(found, replace(cost, image_s=0.01, cache_bytes=99 * GB)) == []


def test_many_cores_decode(
    found: Inspection, cost: TrainingCost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    assert uses(found, cost) == ["--workers auto"]


@pytest.mark.parametrize(("counts", "is_long"), [((90, 10), False), ((100, 10), True)])
def test_long_tails_have_their_loss(
    found: Inspection, cost: TrainingCost, counts: tuple[int, int], is_long: bool
) -> None:
    advised = uses(found, cost, train=dict(zip("ab", counts, strict=True)))
    assert advised == ["quarterturn finetune DATA --loss ldam --reweight drw"] * is_long


def test_more_unreadable_files_than_allowed_are_named(
    found: Inspection, cost: TrainingCost
) -> None:
    broken = replace(found, unreadable=dict.fromkeys(map(str, range(2)), "damaged"))
    findings = [Finding(UNREADABLE, [Find("0"), Find("1")]), Finding(ACROSS, [Find("2")])]
    first, second = uses(broken, cost, findings)
    assert first == "--max-bad-fraction 0.12"  # 2 of 18
    assert "one split" in second


def test_copies_are_left_to_duplicates(found: Inspection, cost: TrainingCost) -> None:
    assert uses(found, cost, [Finding(WITHIN, [Find("0")])]) == ["quarterturn duplicates DATA"]


@pytest.mark.parametrize(("side", "expected"), [(640, 128), (100, 96), (32, 32), (8, 16)])
def test_size_fits_most_images(found: Inspection, side: int, expected: int) -> None:
    sized = replace(found, sizes=np.full((len(found), 2), side))
    assert fitting_size(sized, preset("folder")) == expected


def test_advised_command_has_the_flags_that_can_be_typed(
    found: Inspection, cost: TrainingCost
) -> None:
    small = replace(cost, config=preset("folder").with_settings(image_size=64), image_s=0.01)
    advice = all_advice(
        *("folder", found, [], ClassCounts({}), small), recipe_size=128, max_bad_fraction=0.05
    )
    words = pretrain_words("photos", "folder", True, advice)
    assert words == ["pretrain", "photos", "--image-size", "64", "--cache", "auto"]
    named = pretrain_words(str(Path("photos")), "digits", False, [])
    assert named == ["pretrain", "photos", "--preset", "digits"]
