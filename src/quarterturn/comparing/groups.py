"""Runs side by side: those that differ only in their seed make one group.

Figures of different protocols never meet in one table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterturn.comparing.probed_runs import ProbedRun
from quarterturn.config import MachineConfig
from quarterturn.config.validation import field_types
from quarterturn.errors import ConfigError
from quarterturn.methods.registry import METHODS
from quarterturn.metrics.classification import mean_and_spread
from quarterturn.runs import Run
from quarterturn.runs.comparison_records import GroupScore, GroupStatistic
from quarterturn.runs.records import Score, ScoreName, measures_in

VIEW = ("eval_crop", "fixed_crop", "mean", "std")
"""Settings that an untrained backbone's features depend on, beside its name and image size."""


@dataclass
class Group:
    """Runs that differ in nothing but their seed, and in the machine.

    Attributes:
        label: What sets this group apart from the others.
        runs: The runs.
        origin: Whose figures count, ``trained`` or ``untrained``: every probe brings both.
    """

    label: str
    runs: list[ProbedRun]
    origin: str = "trained"

    def scores(self, protocol: str) -> list[GroupScore]:
        """Mean and spread over the group's runs that have this protocol.

        Each run counts once, by its mean over the probe's own seeds.
        """
        by_name: dict[ScoreName, dict[int, Score]] = {}
        for probed in self.runs:
            if protocol in probed.probes:
                for score in probed.probes[protocol].scores:
                    if score.origin == self.origin:
                        by_name.setdefault(score.name, {})[probed.run.config.run.seed] = score
        return [
            GroupScore(
                group=self.label,
                protocol=protocol,
                part=name.part,
                classifier=name.classifier,
                view=name.view,
                measures={
                    measure: _over_runs(scores, measure)
                    for measure in measures_in(next(iter(scores.values())).measures)
                },
            )
            for name, scores in by_name.items()
        ]


def group_runs(runs: Sequence[ProbedRun]) -> list[Group]:
    """Put runs that differ only in their seed together, in the order of their first ones.

    Where no run has 0 epochs, the untrained backbones that the probes have measured beside the
    trained ones make groups of their own, at the end.

    Raises:
        ConfigError: A run is named twice, or two of a group have the same seed.
    """
    by_settings: dict[str, list[ProbedRun]] = {}
    for probed in runs:
        mates = by_settings.setdefault(json.dumps(_settings(probed.run), sort_keys=True), [])
        for mate in mates:
            if mate.run.config.run.seed == probed.run.config.run.seed:
                raise ConfigError(
                    f"{mate.run.path} and {probed.run.path} have the same settings and the same "
                    f"seed {mate.run.config.run.seed}: they would count twice"
                )
        mates.append(probed)
    groups = [
        Group(label, mates)
        for label, mates in zip(_labels(by_settings), by_settings.values(), strict=True)
    ]
    if any(map(_has_untrained, runs)) and not any(probed.run.untrained for probed in runs):
        by_backbone: dict[str, tuple[str, list[ProbedRun]]] = {}
        for probed in filter(_has_untrained, runs):
            config, settings = probed.run.config, _settings(probed.run)
            words = f"untrained {config.model.backbone}, {config.data.image_size} px"
            seen = json.dumps([words, *(settings[name] for name in VIEW)])
            by_backbone.setdefault(seen, (words, []))[1].append(probed)
        for label, mates in by_backbone.values():
            taken = any(group.label == label for group in groups)
            label = f"{label} ({mates[0].run.path.name})" if taken else label
            groups.append(Group(label, mates, "untrained"))
    return groups


def _has_untrained(probed: ProbedRun) -> bool:
    """Whether a run's probes bring the untrained backbone; one that began with weights has none."""
    scores = (score for result in probed.probes.values() for score in result.scores)
    return any(score.origin == "untrained" for score in scores)


def shared_protocols(
    runs: Sequence[ProbedRun], *, mixed: bool = False
) -> dict[str, dict[str, Any]]:
    """The protocols by which all runs were probed; with ``mixed``, by which any was.

    Returns:
        Short name to protocol.

    Raises:
        ConfigError: There is none; says what the runs' protocols differ in.
    """
    protocols = {name: result.protocol for probed in runs for name, result in probed.probes.items()}
    for probed in runs:
        if not probed.probes:
            raise ConfigError(
                f"{probed.run.path} has no probes of its weights: quarterturn probe "
                f"{probed.run.path} DATA"
            )
    shared = {
        name: protocol
        for name, protocol in protocols.items()
        if mixed or all(name in probed.probes for probed in runs)
    }
    if not shared:
        raise ConfigError(
            "the runs were not probed by one protocol, so their figures do not compare:\n"
            + "\n".join(_disagreements(runs))
            + "\nprobe them alike, or give --mixed for a table for each protocol"
        )
    return shared


def _over_runs(scores: dict[int, Score], measure: str) -> GroupStatistic:
    """One measure over runs; scores of early versions, which had fewer measures, do not count."""
    by_seed = {
        seed: score.measures[measure].mean
        for seed, score in scores.items()
        if measure in score.measures
    }
    return GroupStatistic(**mean_and_spread([*by_seed.values()]), by_seed=by_seed)


def _settings(run: Run) -> dict[str, Any]:
    """All that a group has in common, by name."""
    free = {"seed", *field_types(MachineConfig)}
    settings = {name: v for name, v in run.config.settings().items() if name not in free}
    environment = run.read_json("environment.json")
    in_force = {name: environment.get(name) for name in ("precision", "processes")}
    start = {} if run.start is None else {"from": run.start}
    imported = run.imported and f"{run.imported.file} {run.imported.sha256[:8]}"
    return {**settings, "images": run.fingerprint, "imported": imported, **start, **in_force}


def _labels(by_settings: dict[str, list[ProbedRun]]) -> list[str]:
    """A label for each group: its method and backbone, and all else in which groups differ."""
    every = [json.loads(key) for key in by_settings]
    options = {name for method in METHODS.values() for name in field_types(method)}

    def varies(name: str) -> bool:
        # An option that only one of the methods has says no more than the method's name.
        compared = [s for s in every if name in s or name not in options]
        return any(s.get(name) != compared[0].get(name) for s in compared)

    varying = [name for name in dict.fromkeys(n for s in every for n in s) if varies(name)]
    labels = []
    for settings, mates in zip(every, by_settings.values(), strict=True):
        if not mates[0].run.untrained:
            label = f"{settings['method']} {settings['backbone']}"
            named = ("method", "backbone")
            others = [name for name in varying if name in settings and name not in named]
        else:
            label, others = f"untrained {settings['backbone']}", []
        label = ", ".join(
            [label, *(f"{n.replace('_', ' ')} {_shown(n, settings[n])}" for n in others)]
        )
        labels.append(f"{label} ({mates[0].run.path.name})" if label in labels else label)
    return labels


def _shown(name: str, value: Any) -> str:
    """A setting in a label: of a run or a file that a training began with, the last name."""
    return Path(value).name if name == "from" else _brief(value)


def _brief(value: Any) -> str:
    """A setting as a label shows it: fractions are cut to four digits."""
    if value is None:
        return "by default"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_brief, value))}]"
    return str(value)


def _disagreements(runs: Sequence[ProbedRun]) -> list[str]:
    """For each run the last of its protocols, by what not all have in common."""
    last = [[*probed.probes.values()][-1].protocol for probed in runs]
    varying = [name for name in last[0] if any(p.get(name) != last[0][name] for p in last)]
    return [
        f"  {probed.run.path}: " + ", ".join(f"{name} {protocol.get(name)}" for name in varying)
        for probed, protocol in zip(runs, last, strict=True)
    ]
