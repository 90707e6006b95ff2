"""What a finished classifier leaves behind: its figures, as tables, a page and a file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from quarterturn.classifying.cautions import near_chance
from quarterturn.classifying.evaluation import classifier_metrics, classify
from quarterturn.data.crop_plans import random_crops
from quarterturn.data.train_test_split import TrainTestSplit
from quarterturn.data.unreadable import check_unreadable
from quarterturn.engine.runtime import Runtime
from quarterturn.features.gallery import save_gallery
from quarterturn.files import write_json
from quarterturn.methods.classifier import Classification, ClassifierNetwork
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.pages.classifier_tables import (
    classes_table,
    figures_table,
    measures_of,
    seeds_table,
)
from quarterturn.pages.report import never_fatal, refresh_report
from quarterturn.pages.tables import show
from quarterturn.runs import RESULTS, Run, write_items
from quarterturn.runs.classifier_results import (
    BestEpoch,
    BestEpochs,
    ClassifierResult,
    SeedsSummary,
    Solution,
    read_classifier_result,
)
from quarterturn.runs.closing import log_unreadable
from quarterturn.runs.facts import write_facts
from quarterturn.runs.protocols import classifier_protocol
from quarterturn.runs.record_files import to_json
from quarterturn.runs.records import Statistic, statistic

logger = logging.getLogger(__name__)


def tested(
    method: Classification,
    examples: TrainTestSplit,
    config: Config,
    runtime: Runtime,
    failed: dict[str, str],
) -> dict[str, Any]:
    """Figures on the test images; those that cannot be decoded are noted and left out.

    Raises:
        DataError: They are more than ``max_bad_fraction``.
    """
    assert isinstance(method.network, ClassifierNetwork)
    undecoded: dict[int, str] = {}
    options, run = config.method_as(ClassifierOptions), config.run
    # Crops as of the epochs that would follow the last.
    passes = [
        partial(random_crops, epoch=run.epochs + number, crop=config.data, seed=run.seed)
        for number in range(options.random_test_crops)
    ]
    classified = classify(
        method.network,
        examples.test,
        config.data,
        device=runtime.device,
        workers=config.machine.num_workers,
        failed=undecoded,
        random_crops=passes,
    )
    bad = {examples.file_of_test(i): why for i, why in undecoded.items()}
    check_unreadable(bad, len(examples.test) - len(bad), config.data.max_bad_fraction)
    failed.update(bad)
    return classifier_metrics(
        classified,
        examples.train.class_names,
        examples.class_counts,
        many=options.many,
        few=options.few,
    )


def conclude(
    run: Run,
    examples: TrainTestSplit,
    figures: dict[str, Any],
    failed: dict[str, str],
    learned: dict[str, int | None],
    *,
    warnings: Sequence[str] = (),
    solution: Solution | None = None,
) -> None:
    """Write what a finished run holds beside its checkpoint, and say where it is.

    Args:
        run: The run.
        examples: Its images.
        figures: Those of the last epoch, by `tested`.
        failed: Images that could not be decoded, with the reason.
        learned: What the run that it began with had learned of the test images, by
            `quarterturn.runs.training_images.count_trained_on`; empty from scratch.
        warnings: What was warned of before the training.
        solution: How the classifier was solved; None where it was trained.
    """
    guessing = near_chance(figures)
    warnings = [*warnings, *([guessing] if guessing else [])]
    settings = run.config.method_as(ClassifierOptions)
    best_epoch = None
    evaluated = run.read_metrics("evaluation")
    if settings.protocol == "paper" and evaluated:
        shown = measures_of(figures)
        first = next(iter(shown))
        best = max(evaluated, key=lambda line: line[first])
        measures = {name: best[name] for name in shown}
        best_epoch = BestEpoch(best["epoch"], len(evaluated), measures)
    result = ClassifierResult(
        epoch=run.config.run.epochs,
        figures=figures,
        class_counts=tuple(examples.class_counts.tolist()),
        many=settings.many,
        few=settings.few,
        test=examples.description,
        protocol=classifier_protocol(
            examples.split, run.config.run.seed, many=settings.many, few=settings.few
        ),
        best_epoch=best_epoch,
        solution=solution,
        warnings=tuple(warnings),
        **learned,
    )
    write_image_list(run, examples, failed)
    tables = [figures_table(result), classes_table(result)]
    write_facts(
        run,
        data=[*examples.split.source.summary(), examples.words()],
        warnings=warnings,
    )
    with never_fatal("the pictures of the page", run):
        save_gallery(run, run.load_network(), examples.test)
    write_json(run.path / RESULTS, to_json(result))  # with it the run is finished
    refresh_report(run)
    for table in tables:
        show(table)
    if guessing:
        logger.warning(guessing)
    unreadable = examples.split.source.unreadable | failed
    log_unreadable(unreadable, run.path / "items.csv")


def summarise_seeds(path: Path, runs: list[Run]) -> None:
    """Mean and spread over the seeds, in a file beside the runs."""
    results = [read_classifier_result(run.path) for run in runs]

    def over_seeds(figures: list[dict[str, Any]]) -> dict[str, Statistic]:
        shown = measures_of(figures[0])
        return {name: statistic([of_seed[name] for of_seed in figures]) for name in shown}

    best_epochs = None
    best = [result.best_epoch for result in results if result.best_epoch is not None]
    if len(best) == len(results):
        best_epochs = BestEpochs(
            epochs=tuple(of_seed.epoch for of_seed in best),
            evaluated_epochs=best[0].evaluated_epochs,
            figures=over_seeds([of_seed.figures for of_seed in best]),
        )
    summary = SeedsSummary(
        seeds=tuple(run.config.run.seed for run in runs),
        figures=over_seeds([result.figures for result in results]),
        tested=tuple(result.figures["n"] for result in results),
        many=results[0].many,
        few=results[0].few,
        test=results[0].test,
        best_epoch=best_epochs,
        is_solved=all(result.solution is not None for result in results),
    )
    write_json(path / RESULTS, to_json(summary))
    show(seeds_table(summary))


def write_image_list(run: Run, examples: TrainTestSplit, failed: dict[str, str]) -> None:
    """Write ``items.csv``: every image file with its status."""
    held_out = examples.test if examples.split.test is None else None
    write_items(run.path / "items.csv", examples.split.source, examples.train, held_out, failed)
