"""How well the agnostic score parts images without an "up" from others, measure by measure.

python benchmarks/agnostic.py RUN --agnostic textures

RUN is a run of ``quarterturn upright`` on a folder of which some sub-folders are known to hold
images without an "up". Those labels are read only here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from sklearn.metrics import roc_auc_score

from quarterturn.methods.configuration import Config
from quarterturn.orientation.ablation import Variant, list_variants
from quarterturn.orientation.networks import FoldOutcome, fold_run
from quarterturn.orientation.upright_table import FILE, UprightTable
from quarterturn.pages.tables import Table


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--agnostic", required=True, help="beginning of the agnostic names")
    given = arguments.parse_args()
    table = UprightTable.read(given.run / FILE)
    config = Config.read(given.run / "config.json")
    is_agnostic = np.array([name.startswith(given.agnostic) for name in table.names])
    folds = range(config.upright.folds)
    outcomes = [FoldOutcome.read(fold_run(given.run, i) / "outcome.npz") for i in folds]
    rows = [_row(v, is_agnostic[v.numbers]) for v in list_variants(outcomes, config.data)]
    shown = Table(
        title=f"{is_agnostic.sum():,} agnostic images against {(~is_agnostic).sum():,} others",
        columns=[
            "measure",
            "AUC by entropy",
            "AUC by p_upright",
            "rotation, others",
            "rotation, agnostic",
            "nats",
        ],
        rows=rows,
        note="area under the ROC curve; each measure is added to those before it",
        plain=("AUC by entropy", "AUC by p_upright", "nats"),
    )
    Console(width=140).print(shown)
    print(json.dumps(shown.to_dict()))


def _row(variant: Variant, is_agnostic: np.ndarray) -> list[str | float | None]:
    right = variant.probabilities.argmax(axis=2) == np.arange(4)  # (n, 4)
    true = np.diagonal(variant.probabilities, axis1=1, axis2=2)
    turned = variant.probabilities[:, 1:, 0].mean(axis=1)
    return [
        variant.name,
        float(roc_auc_score(is_agnostic, variant.agnostic)),
        float(roc_auc_score(is_agnostic, turned)),
        float(right[~is_agnostic].mean()),
        float(right[is_agnostic].mean()),
        float(-np.log(np.maximum(true, 1e-12)).mean()),
    ]


if __name__ == "__main__":
    main()
