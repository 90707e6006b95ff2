"""Settings that come into force late in a training, or that a training never gets to."""

from __future__ import annotations

from quarterturn.config import Config
from quarterturn.engine.schedule import first_epoch


def never_in_force(config: Config) -> list[str]:
    """Warnings of what was asked for and changes nothing: the epochs end first, or it is of no use.

    Of the noise-aware phase `quarterturn.pretraining.noise_aware` tells, which reads its file.
    """
    epochs, imbalance = config.run.epochs, config.imbalance
    if epochs == 0:  # nothing is trained, and that is said
        return []
    found = []
    if imbalance.counts == "labels" and not imbalance.balance_semantic:
        found.append("--counts labels changes nothing without --balance-semantic")
    semantic = imbalance.balance_semantic
    if semantic and imbalance.counts == "clusters" and imbalance.cluster_every >= epochs:
        semantic = False
        found.append(
            f"--balance-semantic changes nothing: the first clusters are made after "
            f"{imbalance.cluster_every} epochs, and there are {epochs}; give more --epochs or a "
            "smaller --cluster-every"
        )
    if config.method.method == "classifier":
        late = {"--reweight drw": config.classifier.reweight == "drw"}
    else:
        late = {
            "--balance-turns": imbalance.balance_turns,
            "--balance-agnostic": imbalance.balance_agnostic,
            "--balance-semantic": semantic,
        }
    asked = [words for words, is_on in late.items() if is_on]
    if config.balance.reweight_from_epoch is not None and not any(late.values()):
        found.append(
            f"--reweight-from-epoch {config.balance.reweight_from_epoch} changes nothing "
            f"without {' or '.join(late)}"
        )
    start = config.balance.start(epochs)
    if asked and first_epoch(start, epochs) == epochs:
        found.append(
            f"--reweight-from {start:.3g} is never reached within {epochs} epochs, so "
            f"nothing is weighted by {' and '.join(asked)}; give more --epochs or a smaller "
            "fraction"
        )
    return found
