from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quarterturn.cli import main
from quarterturn.methods.configuration import Config
from quarterturn.runs.without_effect import options_without_effect

CLUSTERS, WEIGHTS = "first clusters are made after 5 epochs", "--reweight-from 0.8 is never reached"
DRW = {"method": "classifier", "reweight": "drw"}
SEMANTIC = {"balance_semantic": True}


@pytest.mark.parametrize(
    ("settings", "epochs", "words"),
    [
        (DRW, 4, [f"{WEIGHTS} within 4 epochs, so nothing is weighted by --reweight drw"]),
        (DRW, 5, []),
        ({**DRW, "diagnostics_images": "all"}, 5, ["--diagnostics-images all has no effect"]),
        ({**DRW, "reweight": "always"}, 1, []),
        ({**DRW, "reweight_from": 0.75}, 4, []),
        ({**DRW, "reweight_from_epoch": 4}, 4, ["--reweight-from 1 is never reached"]),
        ({**DRW, "reweight_from_epoch": 3}, 4, []),
        (SEMANTIC, 5, [CLUSTERS]),
        (SEMANTIC, 6, []),
        (SEMANTIC, 4, [CLUSTERS]),  # what has no clusters is not told to have no weights
        ({**SEMANTIC, "cluster_every": 2}, 3, ["so nothing is weighted by --balance-semantic"]),
        ({**SEMANTIC, "counts": "labels"}, 5, []),
        ({**SEMANTIC, "counts": "labels"}, 4, ["so nothing is weighted by --balance-semantic"]),
        (
            {"balance_turns": True, "balance_agnostic": True},
            1,
            ["so nothing is weighted by --balance-turns and --balance-agnostic"],
        ),
        ({**SEMANTIC, "balance_turns": True}, 3, [CLUSTERS, "weighted by --balance-turns;"]),
        (DRW | SEMANTIC, 0, []),
        (
            {**DRW, "reweight": "none", "reweight_from_epoch": 3},
            9,
            ["--reweight-from-epoch 3 has no effect without --reweight drw"],
        ),
        (
            {"reweight_from_epoch": 3},
            9,
            ["without --balance-turns or --balance-agnostic or --balance-semantic"],
        ),
        ({"counts": "labels"}, 9, ["--counts labels has no effect without --balance-semantic"]),
        ({}, 1, []),
    ],
)
def test_reports_what_the_epochs_do_not_reach(
    settings: dict[str, Any], epochs: int, words: list[str]
) -> None:
    found = options_without_effect(Config().with_settings(**settings, epochs=epochs))
    assert len(found) == len(words)
    for told, expected in zip(found, words, strict=True):
        assert expected in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("pretrain digits --num-noise 8 --balance-semantic --no-diagnostics", "has no effect"),
        ("finetune digits --reweight drw", "nothing is weighted by --reweight drw"),
    ],
)
def test_the_commands_tell(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    few = ["--epochs", "1", "--limit", "60", "--device", "cpu"]
    assert main([*words.split(), *few, "--out", str(run)]) == 0
    assert told in " ".join(capsys.readouterr().err.split())
    assert told in " ".join((run / "report.html").read_text().split())
