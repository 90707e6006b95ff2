"""The log of a training: losses and diagnostics in metrics.jsonl, and the time to expect."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from quarterturn.engine.metric_loggers import GuardedLogger, LoggedRun
from quarterturn.errors import CheckpointError, OutputError, TrainingError
from quarterturn.files import explained
from quarterturn.kept_files import json_lines
from quarterturn.progress import duration

logger = logging.getLogger(__name__)

RECOURSE = (
    "A new run with a lower --learning-rate may help; with NCE, a higher --temperature or "
    "--instance-loss infonce"
)
"""What to do about a training that diverges: resumed, it would take the same steps."""
ESTIMATE_AFTER = 20
"""Steps after which the time to expect is reported."""


class Telemetry:
    """Collects the steps' losses on the device and writes their means every few steps.

    Args:
        path: The run's ``metrics.jsonl``, or None to keep nothing.
        total_steps: Steps in the whole run.
        steps_per_epoch: Steps in an epoch.
        log_every: Steps averaged in a line.
        description: Name of the training, before the time to expect.
        logged: Where the lines go beside the file; None for nowhere.
        shorter: Flags that would shorten a long training, in the words of its command.
        in_iterations: Report the time to expect of an iteration, in place of an epoch.

    Attributes:
        note: The loss of the last line, in words; empty before the first.
        last_checkpoint: The last good checkpoint, in words.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        total_steps: int,
        steps_per_epoch: int,
        log_every: int = 20,
        description: str = "training",
        logged: LoggedRun | None = None,
        shorter: str = "--epochs or --limit",
        in_iterations: bool = False,
    ) -> None:
        self.path, self.log_every = path, log_every
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.description, self.shorter, self.in_iterations = description, shorter, in_iterations
        self.note, self.last_checkpoint = "", "none yet"
        self._pending: list[tuple[int, dict[str, Tensor]]] = []
        self._images = 0
        self._bytes = 0
        self._elapsed_before = 0.0
        self._start: float | None = None
        self._steps_here = 0
        self._file: FileIO | None = None
        self._last_step = -1
        self._logged = logged
        self._logger: GuardedLogger | None = None

    def __enter__(self) -> Telemetry:
        """Open the log, cut back to what the checkpoint knows of."""
        if self.path is not None:
            if self._bytes and (not self.path.exists() or self.path.stat().st_size < self._bytes):
                raise CheckpointError(
                    f"{self.path} is shorter than when the checkpoint was written; put it back, "
                    "or begin anew"
                )
            self._file = open(self.path, "a+b", buffering=0)
            remade = set() if self._logged is None else self._steps_in(self._bytes)
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
            if self._logged is not None:
                self._logger = self._open_logger(self._logged, remade)
        self._start = self._interval_start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything, and stop the clock."""
        self._elapsed_before, self._start = self.elapsed_s, None
        if self._file is not None:
            self._file.close()
        if self._logger is not None:
            self._logger.close(failed=error is not None)

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, those before an interruption included."""
        running_s = 0.0 if self._start is None else time.perf_counter() - self._start
        return self._elapsed_before + running_s

    def step(self, step: int, terms: dict[str, Tensor], num_images: int, rate: float) -> None:
        """Note a finished step; touches no device memory until a line is due.

        Args:
            step: Its number, from 0.
            terms: Named scalars on the device.
            num_images: Images in the batch, over all processes.
            rate: The learning rate in force.
        """
        self._pending.append((step, terms))
        self._images += num_images
        self._rate = rate
        self._steps_here += 1
        if (step + 1) % self.log_every == 0:
            self.flush()
        if self._steps_here == ESTIMATE_AFTER:
            self._log_estimate(step)

    def flush(self) -> None:
        """Write the mean of the steps since the last line.

        Raises:
            TrainingError: A loss was not finite; names the first such step.
        """
        if not self._pending:
            return
        steps = [step for step, _ in self._pending]
        names = list(self._pending[0][1])
        # One transfer for all steps and terms: .item() at each step would stall the device.
        values = torch.stack(
            [torch.stack([terms[n].detach().float() for n in names]) for _, terms in self._pending]
        ).cpu()
        for step, row in zip(steps, values, strict=True):
            if not bool(row.isfinite().all()):
                found = ", ".join(f"{n} {v:.4g}" for n, v in zip(names, row.tolist(), strict=True))
                raise TrainingError(
                    f"the loss is no longer finite at step {step} ({found}); the last good "
                    f"checkpoint: {self.last_checkpoint}. {RECOURSE}"
                )
        now = time.perf_counter()
        means = dict(zip(names, values.double().mean(dim=0).tolist(), strict=True))
        self.record(
            "train",
            step=steps[-1],
            epoch=steps[-1] // self.steps_per_epoch,
            learning_rate=self._rate,
            **means,
            images_per_s=self._images / max(now - self._interval_start, 1e-9),
        )
        self._last_step = steps[-1]
        self.note = f"loss {means['loss']:.3f}"
        self._pending, self._images, self._interval_start = [], 0, now

    def record(self, kind: str, *, step: int, epoch: int, **values: Any) -> None:
        """Write one line of metrics.jsonl, with the time."""
        if self._file is None:
            return
        line = {"kind": kind, "step": step, "epoch": epoch, **values}
        line["elapsed_s"] = round(self.elapsed_s, 3)
        with self._explained():
            self._file.write(json.dumps(line).encode() + b"\n")
        if self._logger is not None:
            self._logger.log(line)

    def restart_clock(self) -> None:
        """Leave what has passed since the last line out of the next line's images a second."""
        self._interval_start = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """How much of the log is sure, and the time spent."""
        if self._file is not None:
            with self._explained():
                os.fsync(self._file.fileno())
                # An open file takes lines even when it is in no folder any more.
                if os.fstat(self._file.fileno()).st_nlink == 0:
                    raise FileNotFoundError(errno.ENOENT, "it was deleted")
            self._bytes = self._file.tell()
        if self._logger is not None:
            self._logger.flush()
        return {
            "bytes": self._bytes,
            "elapsed_s": self.elapsed_s,
            "last_step": self._last_step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue a log; lines after the checkpoint are cut off when it is opened."""
        self._bytes, self._elapsed_before = state["bytes"], state["elapsed_s"]
        self._last_step = state["last_step"]

    def _open_logger(self, logged: LoggedRun, remade: set[tuple[str, int]]) -> GuardedLogger:
        return GuardedLogger(
            logged.logger, lambda: logged.open(self._last_step + 1, remade), self._lines
        )

    def _lines(self, first_byte: int = 0) -> list[dict[str, Any]]:
        """The lines of the log from a place in it on; damaged ones are left out."""
        assert self.path is not None
        lines, _ = json_lines(self.path.read_bytes()[first_byte:])
        return [line for line in lines.values() if isinstance(line.get("step"), int)]

    def _steps_in(self, first_byte: int) -> set[tuple[str, int]]:
        """Kind and step of the lines from a place in the log on."""
        return {(str(line.get("kind")), line["step"]) for line in self._lines(first_byte)}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what is left where the operating system refuses to write the log."""
        assert self.path is not None
        try:
            with explained(self.path):
                yield
        except OutputError as error:
            raise CheckpointError(
                f"{error}; the last good checkpoint: {self.last_checkpoint}"
            ) from error

    def _log_estimate(self, step: int) -> None:
        assert self._start is not None
        a_step = (time.perf_counter() - self._start) / self._steps_here
        epoch_s, rest_s = a_step * self.steps_per_epoch, a_step * (self.total_steps - step - 1)
        pace = (
            f"{a_step:.2g} s an iteration"
            if self.in_iterations
            else f"{duration(epoch_s)} an epoch"
        )
        text = f"{self.description}: about {pace}"
        text += f", {duration(rest_s)} until the end"
        if rest_s > 600:
            text += f"; shorter with {self.shorter}"
        logger.info(text)
