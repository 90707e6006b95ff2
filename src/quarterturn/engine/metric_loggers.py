"""Loggers of experiments: TensorBoard and Weights & Biases get the lines of metrics.jsonl.

What a line has under ``loss`` is ``train/loss`` there, at the step of the line. The file stays the
source of truth: a logger that fails is reported once, and the training continues.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from quarterturn.engine.torchrun import process_rank
from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.files import write_json
from quarterturn.kept_files import read_object

logger = logging.getLogger(__name__)

NONE = "none"
PROJECT = "quarterturn"
"""Of Weights & Biases, where WANDB_PROJECT names no other."""
FINISH_S = 120.0
"""How long the end of a training waits for Weights & Biases to upload what is left."""

Line = Mapping[str, Any]


class MetricLogger(Protocol):
    """Takes the lines of a training, each once and in their order."""

    @property
    def is_new(self) -> bool:
        """Whether it has no line of the training yet, be it of an earlier call."""

    def log(self, line: Line) -> None:
        """Take one line."""

    def flush(self) -> None:
        """Make sure of all lines so far."""

    def close(self, *, failed: bool) -> None:
        """End, saying whether the training has failed."""


@dataclass(frozen=True)
class LoggedRun:
    """What is known of a training that is logged elsewhere too.

    Attributes:
        logger: ``tensorboard`` or ``wandb``.
        folder: The run directory.
        settings: Of the run, by group.
    """

    logger: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    def open(self, first_step: int, remade: set[tuple[str, int]]) -> MetricLogger:
        """Begin to log, or continue.

        Args:
            first_step: The first that is made now.
            remade: Kind and step of lines after the checkpoint, which were logged before an
                interruption and are made again.
        """
        if self.logger == "wandb":
            return WandbLogger(self, remade)
        return TensorBoardLogger(self.folder / "tensorboard", first_step)


def require_logger(name: str) -> None:
    """Refuse a logger that cannot work, before anything is done.

    Raises:
        ConfigError: Its package is not installed; or Weights & Biases has no account to log to.
    """
    if name == NONE:
        return
    found = find_spec(name)
    if found is None or found.origin is None:  # a folder of that name is there: no package
        raise ConfigError(
            f"--logger {name} needs an extra: pip install 'quarterturn[{name}]', or leave it out"
        )
    if name != "wandb" or process_rank() != 0:
        return
    import wandb

    try:
        if wandb.setup().settings.mode == "online":
            wandb.login(verify=False)  # asks for the key, on a terminal
    except Exception as error:
        raise ConfigError(
            f"--logger wandb: {error} Or set WANDB_MODE=offline, and upload later with wandb sync"
        ) from error


class TensorBoardLogger:
    """Event files, written at once: an error is raised where it arises, not in a thread.

    Args:
        folder: Of the run's event files.
        first_step: Events of this step and later ones, of before an interruption, are void.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        folder.mkdir(exist_ok=True)
        self.is_new = not any(folder.glob("events.out.tfevents.*"))
        name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
        self._file = FileIO(folder / name, "x")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        if not self.is_new:
            start = SessionLog(status=SessionLog.START)
            self._write(step=first_step, session_log=start)

    def log(self, line: Line) -> None:
        """Take one line; see `MetricLogger`."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in numbers_of(line).items()
        ]
        self._write(step=line["step"], summary=self._summary(value=values))

    def flush(self) -> None:
        """Make sure of all lines so far."""
        os.fsync(self._file.fileno())

    def close(self, *, failed: bool) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, **fields: Any) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())


class WandbLogger:
    """A run of Weights & Biases, the same for all calls that train one run directory.

    Args:
        run: The run directory, which keeps the id.
        remade: Lines that are there already; see `LoggedRun.open`.
    """

    def __init__(self, run: LoggedRun, remade: set[tuple[str, int]]) -> None:
        import wandb

        id_file = run.folder / "wandb.json"
        known = None
        with suppress(FileNotFoundError, CheckpointError):
            known = read_object(id_file).get("id")
        self.is_new, self._remade = known is None, remade
        place, whole = run.folder.absolute(), run.folder.absolute().parent
        # One of several seeds, or a fold in the run of upright.
        is_part = place.name.startswith("seed-") or (whole / "config.json").exists()
        names = [whole.name, place.name] if is_part else [place.name]
        self._run = wandb.init(
            id=known or secrets.token_hex(4),
            resume="allow",
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name="-".join(names),
            group=names[0] if is_part else None,
            dir=str(run.folder),
            config=dict(run.settings),
            reinit="create_new",  # a run that the caller has open stays as it is
            settings=wandb.Settings(console="off", silent=True, finish_timeout=FINISH_S),
        )
        write_json(id_file, {"id": self._run.id, "project": self._run.project})
        offline = f"offline; upload with: wandb sync {Path(self._run.dir).parent}"
        logger.info(f"wandb: {offline if self._run.offline else self._run.url}")

    def log(self, line: Line) -> None:
        """Take one line, unless it is there; see `MetricLogger`."""
        if (line["kind"], line["step"]) not in self._remade:
            self._run.log(numbers_of(line), step=line["step"])

    def flush(self) -> None:
        """Lines go to a process of its own at once."""

    def close(self, *, failed: bool) -> None:
        """Upload what is left."""
        self._run.finish(exit_code=int(failed))


class GuardedLogger:
    """A logger that cannot end a training: the first error is reported, and it gets no more.

    Args:
        name: Of the logger.
        opened: Opens it.
        former: The lines before the first step of now; a logger that is new to a run gets them.
    """

    def __init__(
        self,
        name: str,
        opened: Callable[[], MetricLogger],
        former: Callable[[], Iterable[Line]] = tuple,
    ) -> None:
        self._name = name
        self._logger: MetricLogger | None = None

        def start() -> None:
            self._logger = opened()
            if self._logger.is_new:
                for line in former():
                    self._logger.log(line)

        self._guarded(start)

    def log(self, line: Line) -> None:
        """Pass one line on."""
        if (working := self._logger) is not None:
            self._guarded(lambda: working.log(line))

    def flush(self) -> None:
        """Make sure of all lines so far."""
        if (working := self._logger) is not None:
            self._guarded(working.flush)

    def close(self, *, failed: bool = False) -> None:
        """End."""
        if (working := self._logger) is not None:
            self._guarded(lambda: working.close(failed=failed))
            self._logger = None

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # whatever a package or its service may raise
            self._logger = None
            reason = str(error) or type(error).__name__
            logger.warning(
                f"--logger {self._name} has failed ({reason}): it gets nothing more, and the "
                "training continues. metrics.jsonl has every line"
            )


def numbers_of(line: Line) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl, such as ``train/loss``, without its step."""
    return {
        f"{line['kind']}/{name}": value
        for name, value in line.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        if name != "step" and math.isfinite(value)
    }
