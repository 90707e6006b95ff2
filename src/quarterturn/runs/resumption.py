"""What a run has to agree with before it is resumed: command, settings, images, labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import ImageSet
from quarterturn.engine.torchrun import process_rank
from quarterturn.errors import ConfigError, DataError
from quarterturn.files import write_json
from quarterturn.kept_files import read_object
from quarterturn.methods.configuration import Config
from quarterturn.runs.files import SEED_FOLDERS
from quarterturn.runs.lengthening import lengthened
from quarterturn.runs.run import Run
from quarterturn.runs.seeds import finish_start, seed_runs


def runs_to_resume(path: Path, kind: str, config: Config | None) -> list[Run]:
    """The run in a directory, or those of several seeds, as one command resumes them.

    Args:
        path: The directory.
        kind: The command.
        config: What the user asks for, with the first seed; None for all as it was. Where it has
            more epochs, the runs are lengthened: `keep_length` writes that.

    Raises:
        ConfigError: Another command made them, or ``config`` differs in more than it may.
        CheckpointError: There is no run.
    """
    if process_rank() == 0:
        finish_start(path)
    runs = seed_runs(path) or [Run.open(path)]
    first = runs[0].config.run.seed
    if len(runs) > 1 and config is None:
        config = runs[0].config  # the first is lengthened first, if one of them is
    elif len(runs) == 1 and config is not None:
        _refuse_to_lengthen_one_of_several(path, runs[0], config)
    resumed = []
    for run in runs:
        if run.data is None:
            raise ConfigError(
                f"the weights of {path} were imported: there is no training to resume. Begin a new "
                f"run with quarterturn {kind} DATA"
            )
        require_kind(run, kind)
        after_first = run.config.run.seed - first
        asked = config and config.with_settings(seed=config.run.seed + after_first)
        resumed.append(with_machine_of(lengthened(run, asked), asked))
    return resumed


def _refuse_to_lengthen_one_of_several(path: Path, run: Run, config: Config) -> None:
    """Runs of several seeds are resumed and summed up as one: none may be longer than another."""
    if config.run.epochs <= run.config.run.epochs or not path.resolve().match(SEED_FOLDERS):
        return
    if len(seed_runs(path.resolve().parent)) > 1:
        raise ConfigError(
            f"{path} is one of several seeds, which are equally long: lengthen all of them with "
            f"--resume {path.parent}"
        )


def require_kind(run: Run, kind: str) -> None:
    """Refuse to resume a run that another command has made.

    Args:
        run: The run.
        kind: The command that resumes it.

    Raises:
        ConfigError: Names both.
    """
    if run.kind != kind:
        raise ConfigError(
            f"{run.path} is a run of {run.kind}, not of {kind}: the command that made it resumes it"
        )


def with_machine_of(run: Run, config: Config | None) -> Run:
    """A run with the machine's settings of another configuration.

    How many files may fail, and how large they may be, is taken from there too: it changes no
    figure, and a run that was stopped by it could not be resumed otherwise.

    Args:
        run: The run.
        config: What the user asks for, or None for all as it was.

    Raises:
        ConfigError: It differs from the run's in more than that.
    """
    if config is None:
        return run
    data = replace(
        run.config.data,
        max_bad_fraction=config.data.max_bad_fraction,
        max_pixels=config.data.max_pixels,
    )
    resumed = replace(run.config, machine=config.machine, data=data)
    if changed := config.differences(resumed):
        raise ConfigError(
            f"a resumed run keeps its settings, but these were given: {'; '.join(changed)} "
            "(given -> the run's). Leave them out, or begin a new run"
        )
    return replace(run, config=resumed)


def place_of_data(run: Run, moved: Path | str | None) -> str:
    """Where the images of a run are that is to be resumed.

    Args:
        run: The run.
        moved: DATA as the user gave it, if it has moved.

    Raises:
        DataError: It has moved, and the user did not say where.
    """
    if moved is not None:
        return locate(str(moved))
    if run.data is not None and run.config.machine.download:
        return run.data
    return run.data_or_own(None, "--data DATA")


def require_images(run: Run, images: ImageSet, data: str | None = None) -> None:
    """Refuse to resume with other images.

    Args:
        run: The run.
        images: The images there are.
        data: DATA that they are from, if not the run's own.

    Raises:
        DataError: They are not those that the run began with.
    """
    if (found := images.fingerprint()) != run.fingerprint:
        raise DataError(
            f"the images of {data or run.data} are not those the run began with (fingerprint "
            f"{found}, expected {run.fingerprint}): files were added, removed or changed"
        )


def require_labels(run: Run, fingerprint: str) -> None:
    """Refuse to resume with other labels, where the run knows what they were.

    Args:
        run: The run.
        fingerprint: Of the labels there are, by `LabelledData.labels_fingerprint`.

    Raises:
        DataError: They are not those that the run began with.
    """
    if run.labels_fingerprint not in (None, fingerprint):
        raise DataError(
            f"the labels of {run.data} are not those the run began with (fingerprint "
            f"{fingerprint}, expected {run.labels_fingerprint}): begin a new run"
        )


def with_data(run: Run, data: str, *, write: bool) -> Run:
    """A run with images that have moved, once `require_images` has found them the same.

    Args:
        run: The run.
        data: DATA, where they are now.
        write: Keep the new place in ``config.json``.
    """
    if write and data != run.data:
        file = run.path / "config.json"
        write_json(file, {**read_object(file), "data": data})
    return replace(run, data=data)
