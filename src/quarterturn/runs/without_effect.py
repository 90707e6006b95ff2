"""Warn about options that have no effect."""

from __future__ import annotations

from quarterturn.config import DataConfig
from quarterturn.engine.schedule import first_epoch, phases
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.wording import counted


def options_without_effect(config: Config) -> list[str]:
    """Warnings about options that have no effect: the epochs end first, or another is missing.

    Those of the noise-aware phase come from `quarterturn.pretraining.noise_aware`, which reads its
    file.
    """
    imbalance, restarts = config.imbalance, config.optimizer.restarts
    epochs = max(map(len, phases(config.run.epochs, restarts)))
    if epochs == 0:  # nothing is trained, and that is said
        return []
    found = []
    if imbalance.counts == "labels" and not imbalance.balance_semantic:
        found.append("--counts labels has no effect without --balance-semantic")
    semantic = imbalance.balance_semantic
    if semantic and imbalance.counts == "clusters" and imbalance.cluster_every >= epochs:
        semantic = False
        found.append(
            f"--balance-semantic has no effect: the first clusters are made after "
            f"{imbalance.cluster_every} epochs, and there are {epochs}; give more --epochs or a "
            "smaller --cluster-every"
        )
    if isinstance(config.method, ClassifierOptions):
        late = {"--reweight drw": config.method.reweight == "drw"}
        if (most := config.data.diagnostics_images) != DataConfig().diagnostics_images:
            found.append(
                f"--diagnostics-images {most} has no effect: a classifier is tested on all of the "
                "test images"
            )
    else:
        late = {
            "--balance-turns": imbalance.balance_turns,
            "--balance-agnostic": imbalance.balance_agnostic,
            "--balance-semantic": semantic,
        }
    asked = [words for words, is_on in late.items() if is_on]
    if config.balance.reweight_from_epoch is not None and not any(late.values()):
        found.append(
            f"--reweight-from-epoch {config.balance.reweight_from_epoch} has no effect "
            f"without {' or '.join(late)}"
        )
    start = config.balance.start(config.first_phase_epochs)
    if asked and first_epoch(start, epochs) == epochs:
        found.append(
            f"--reweight-from {start:.3g} is never reached within {counted(epochs, 'epoch')}, so "
            f"nothing is weighted by {' and '.join(asked)}; give more --epochs or a smaller "
            "fraction"
        )
    return found
