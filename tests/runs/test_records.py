from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quarterturn.runs.classifier_results import BestEpoch, ClassifierResult
from quarterturn.runs.record_files import FORMAT, from_json, read_record, to_json
from quarterturn.runs.records import (
    ProbeResult,
    Score,
    ScoreName,
    Statistic,
    few_shot_name,
    images_per_class,
    merged,
    summarise,
)
from tests.fixtures.probes import probe_result

FORMER = Path(__file__).parent / "former"
NAME = ScoreName("trained", "invariant", "knn-20", "turned")


def metrics(top1: float, many: float | None = None) -> dict[str, Any]:
    names = ("balanced", "worst_class", "medium", "few", "std_over_classes", "std_over_groups")
    return {"top1": top1, "many": many, **dict.fromkeys(names, 0.5), "per_class": {"a": top1}}


class TestSummaries:
    def test_are_mean_and_sample_deviation_with_all_values(self):
        (score,) = summarise({NAME: [metrics(0.5), metrics(0.75)]})
        assert score.name == NAME
        top1 = score.measures["top1"]
        assert (top1.mean, top1.values) == (0.625, (0.5, 0.75))
        assert top1.spread == pytest.approx(0.25 / 2**0.5)
        assert score.repeats[1]["per_class"] == {"a": 0.75}

    def test_have_no_figure_where_one_repeat_has_none(self):
        (score,) = summarise({NAME: [metrics(0.5, many=0.5), metrics(0.5, many=None)]})
        assert score.measures["many"] == Statistic(None, None, (0.5, None))


class TestFiles:
    def test_hold_names_as_fields_and_the_format(self):
        stored = to_json(probe_result(*summarise({NAME: [metrics(0.5)]})))
        assert stored["format"] == FORMAT
        (score,) = stored["scores"]
        assert score["origin"] == "trained"
        assert score["part"] == "invariant"
        assert score["classifier"] == "knn-20"
        assert score["view"] == "turned"
        assert "/" not in json.dumps(list(score))

    def test_are_read_as_they_were_written(self):
        result = probe_result(*summarise({NAME: [metrics(0.5), metrics(0.25)]}), left_out="K = 9")
        assert from_json(json.loads(json.dumps(to_json(result))), ProbeResult) == result
        classifier = ClassifierResult(
            3,
            {"top1": 0.5, "per_class": {"a": None}},
            (5,),
            100,
            20,
            "a split",
            None,
            BestEpoch(2, 3, {"top1": 0.75}),
        )
        assert from_json(json.loads(json.dumps(to_json(classifier))), ClassifierResult) == (
            classifier
        )

    def test_of_the_former_form_are_read(self):
        (file,) = (FORMER / "pretrain" / "probes").glob("*frozen*")
        stored = json.loads(file.read_text())
        assert "format" not in stored
        result = read_record(file, ProbeResult)
        assert len(result.scores) == len(stored["figures"]) == 36
        for score in result.scores:
            name = f"{score.origin}/{score.part}/{score.classifier}/{score.view}"
            of_name = stored["figures"][name]
            for measure, statistic in score.measures.items():
                assert statistic.mean == of_name[measure]["mean"]
                assert statistic.spread == of_name[measure]["spread"]
            assert score.measures["top1"].values == tuple(m["top1"] for m in of_name["by_seed"])

    @pytest.mark.parametrize(
        ("stored", "message"),
        [
            ([], "expected an object, found list"),
            ({}, "required field missing"),
            ({"format": FORMAT + 1}, "later version"),
        ],
    )
    def test_that_hold_no_record_are_refused(self, stored, message):
        with pytest.raises(ValueError, match=message):
            from_json(stored, ProbeResult)


def test_later_scores_take_the_place_of_earlier_ones():
    def score(part: str, top1: float) -> Score:
        return Score("trained", part, "linear", "upright", {"top1": Statistic(top1)})

    earlier, later = [score("a", 0.1), score("b", 0.2)], [score("c", 0.3), score("a", 0.4)]
    assert merged(earlier, later) == (score("a", 0.4), score("b", 0.2), score("c", 0.3))


def test_k_is_read_off_a_few_shot_classifiers_name():
    assert images_per_class(few_shot_name(50)) == 50


def test_a_score_is_found_by_its_name():
    result = probe_result(*summarise({NAME: [metrics(0.5)]}))
    assert result.score("trained", "invariant", "knn-20", "turned").measures["top1"].mean == 0.5
    with pytest.raises(KeyError):
        result.score("trained", "invariant", "knn-20", "upright")
