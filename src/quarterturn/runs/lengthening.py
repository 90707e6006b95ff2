"""More epochs for a run: ``--resume RUN --epochs N``, and ``--restarts`` for a schedule anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from quarterturn.errors import ConfigError
from quarterturn.files import write_json
from quarterturn.kept_files import read_object
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.runs.phases import Phase, carries_on, made_for_its_length, schedule_words
from quarterturn.runs.run import Run
from quarterturn.runs.seeds import RESULTS, SUMMARY
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

MADE_AGAIN = ("report.html", RESULTS, SUMMARY)
"""What a run says of its last epoch; written anew at the end of the new one."""


def lengthened(run: Run, asked: Config | None) -> Run:
    """A run with the epochs that are asked for, where they are more than it has.

    Nothing is written; `keep_length` does that.

    Args:
        run: The run.
        asked: What the user asks for; None for all as it was. Only its epochs and restarts count.

    Raises:
        ConfigError: They are fewer, or the run's schedule was made for the epochs it has.
    """
    had = run.config.run.epochs
    if asked is None or (epochs := asked.run.epochs) == had:
        return run
    than = "more" if epochs > had else "fewer"
    more = f"--epochs {epochs} is {than} than the {had} of {run.path}"
    if epochs < had:
        raise ConfigError(
            f"{more}: a run can be lengthened, not shortened. Leave it out, or begin a new run"
        )
    if had == 0:
        raise ConfigError(f"{more}, in which nothing is trained by epochs: begin a new run")
    restarts = asked.optimizer.restarts
    config = run.config.with_settings(epochs=epochs, restarts=restarts)
    config.check()
    if not carries_on(run.config, config):
        before = run.config.optimizer.restarts
        expected = "--restarts " + " ".join(map(str, (*before, had)))
        if restarts == before:
            raise ConfigError(
                f"{more}, and {made_for_its_length(run.config)} was made for these: give {expected}"
                f" too, and the schedule begins again after epoch {had}; or begin a new run"
            )
        raise ConfigError(
            f"--restarts {' '.join(map(str, restarts)) or '(none)'} would change the {had} epochs "
            f"that {run.path} has already: expected {expected}, and later ones if you like"
        )
    begins_again = had in restarts
    schedule = schedule_words(config) + (", begun again" if begins_again else ", continued")
    begun = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    phase = Phase(had, epochs - had, schedule, begun)
    return replace(run, config=config, phases=(*run.phases, phase))


def keep_length(path: Path, runs: Sequence[Run]) -> None:
    """Write what `lengthened` has found to runs, and take away what they say of their former end.

    Call it in the main process, under the runs' locks.

    Args:
        path: The directory of the command: the run's, or that in which several runs are.
        runs: The runs, of which none need be lengthened.
    """
    for run in runs:
        file = run.path / "config.json"
        stored = read_object(file)
        if len(stored.get("phases", ())) == len(run.phases):
            continue
        for folder in (path, run.path):  # first: a run without them is tested again
            for name in MADE_AGAIN:
                (folder / name).unlink(missing_ok=True)
        config = Config.from_dict(stored["config"], stored.get("format", 1)).with_settings(
            epochs=run.config.run.epochs, restarts=run.config.optimizer.restarts
        )
        phases = [asdict(phase) for phase in run.phases]
        changed = {"format": FORMAT, "config": config.to_dict(), "phases": phases}
        write_json(file, {**stored, **changed})
        phase = run.phases[-1]
        logger.info(
            f"{run.path} had {counted(phase.from_epoch, 'epoch')} and is to have "
            f"{run.config.run.epochs:,}: the schedule of the new ones is {phase.schedule}"
        )
