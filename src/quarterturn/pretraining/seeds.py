"""The trainings of one command, one for each seed, and what several of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quarterturn.data.selection import Selection
from quarterturn.engine.runtime import Runtime
from quarterturn.files import write_json
from quarterturn.pages.tables import show
from quarterturn.pretraining.diagnostics import seeds_table
from quarterturn.pretraining.learning_curve import LabelledSample
from quarterturn.pretraining.noise_aware import p_upright_for, upright_passes
from quarterturn.pretraining.training import Pretraining
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import files_of_runs, log_closing
from quarterturn.runs.life_cycle import TrainingFiles, train
from quarterturn.runs.record_files import to_json
from quarterturn.runs.records import statistic
from quarterturn.runs.seeds import SUMMARY
from quarterturn.runs.time_budget import REPORT_SHARE
from quarterturn.wording import counted


def train_all(
    path: Path,
    runs: Sequence[Run],
    images: Selection,
    runtime: Runtime,
    sample: LabelledSample | None,
) -> None:
    """Train each run, and write the summary of several beside them.

    Args:
        path: The directory of the command: the run's, or that in which several runs are.
        runs: Runs that differ in their seed.
        images: What they learn from.
        runtime: Device, precision, processes.
        sample: The labelled images of the quick probes, if any.
    """
    first, several = runs[0], len(runs) > 1
    epochs = first.config.run.epochs
    passes = upright_passes(first.config) + (1 + REPORT_SHARE) * epochs
    with stage("pretrain", total=passes * len(runs)):
        for run in runs:
            p_upright = p_upright_for(run, images, runtime)
            name = f"seed {run.config.run.seed}" if several else run.config.method.name
            train(
                Pretraining(
                    config=run.config,
                    images=images.train,
                    runtime=runtime,
                    source=images.source,
                    files=TrainingFiles.of_run(run),
                    name=name,
                    weight=epochs,
                    run=run,
                    selection=images,
                    p_upright=p_upright,
                    sample=sample,
                )
            )
    if several and runtime.is_main:
        _summarise(path, runs)
    commands: list[Sequence[object]] = [
        ("probe", first.path, first.data),
        ("neighbors", first.path, images.train.names[0]),
        ("embed", first.path, "--out", first.path / "features.npz"),
    ]
    if several:
        commands = [("probe", run.path, run.data) for run in runs]
        commands.append(("compare", *(run.path for run in runs)))
    log_closing(
        f"trained on {len(images.train):,} images for {counted(epochs, 'epoch')}"
        + (f", {len(runs)} seeds" if several else ""),
        files_of_runs(path, [run.path for run in runs], SUMMARY),
        commands,
    )


def _summarise(path: Path, runs: Sequence[Run]) -> None:
    """Mean and spread of the last diagnostics over the seeds, in a file beside the runs."""
    last = [run.read_json(SUMMARY).get("diagnostics", {}) for run in runs]
    names = [name for name, value in last[0].items() if isinstance(value, float)]
    statistics = {
        name: statistic([of_seed.get(name) for of_seed in last])
        for name in names
        if name != "elapsed_s"
    }
    seeds = [run.config.run.seed for run in runs]
    table = seeds_table(statistics, seeds)
    stored = {name: to_json(found) for name, found in statistics.items()}
    summary = {"seeds": seeds, "diagnostics": stored, "table": table.to_dict()}
    write_json(path / SUMMARY, summary)
    if table.rows:
        show(table)
