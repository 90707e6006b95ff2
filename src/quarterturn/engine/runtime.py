"""Devices, precision and processes: the only file that knows of them.

Several processes are started by ``torchrun``; without it there is one.
"""

from __future__ import annotations

import atexit
import copy
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from quarterturn.engine.torchrun import num_processes, process_rank
from quarterturn.errors import ConfigError

B = TypeVar("B")

DEVICES = r"cpu|mps|(cuda|xpu)(:[0-9]{1,3})?"
"""What trainings here run on; torch names more: ``meta`` computes nothing."""


class Runtime:
    """Where this process computes, how precisely, and with whom.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto``, ``32-true`` or ``bf16-mixed``; ``auto`` is resolved here.
        compile: Compile what is trained, by ``torch.compile``.
        single: Work in this process only, whatever torchrun has started.

    Attributes:
        device: The device in force.
        precision: The precision in force.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        device: str = "auto",
        precision: str = "auto",
        *,
        compile: bool = False,
        single: bool = False,
    ) -> None:
        self.rank, self.world_size = (0, 1) if single else (process_rank(), num_processes())
        self.device = _resolve_device(device)
        self.precision = _resolve_precision(precision, self.device)
        self.compile = compile
        if compile and self.device.type == "cpu" and not _has_compiler():
            raise ConfigError("--compile needs a C++ compiler on a processor: g++, or CXX set")
        if self.device.type == "cuda":
            # The same bits after an interruption, and 32-true that is not TF32 in convolutions.
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = self.precision != "32-true"
        if self.world_size > 1 and not dist.is_initialized():
            _join_group()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After a failure, leave the group, so that no other process waits for this one."""
        if kind is not None and _joined is not None and dist.group.WORLD is _joined:
            dist.destroy_process_group()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager:
        """Bfloat16 where the precision asks for it."""
        mixed = self.precision == "bf16-mixed"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as it is trained: compiled on demand, gradients averaged over processes.

        Batch norm sees one process's share of the batch, all four copies of each image, unless it
        is synchronised; see `quarterturn.runs.batch_statistics`.
        """
        if self.world_size > 1:
            network = DistributedDataParallel(network)
        if self.compile:
            network = cast(nn.Module, torch.compile(network))
        return network

    def ahead(self, batches: Iterator[B]) -> Iterator[B]:
        """Let a GPU copy and augment each batch while it still works on the step before.

        The steps are only queued, so a batch that is prepared on a stream of its own need not wait
        for them. The order of the work in this process stays. Not run on a GPU so far.

        Args:
            batches: Each is made when it is asked for; its tensors are its attributes.
        """
        if self.device.type != "cuda":
            yield from batches
            return
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))  # for what batches are made of
        while True:
            with torch.cuda.stream(side):
                batch = next(batches, None)
            if batch is None:
                return
            of_steps = torch.cuda.current_stream(self.device)
            of_steps.wait_stream(side)
            for value in vars(batch).values():
                if isinstance(value, Tensor):
                    # Its memory belongs to the side stream, which must not use it again too soon.
                    value.record_stream(of_steps)
            yield batch

    def gradients_averaged(self, network: nn.Module, now: bool) -> AbstractContextManager:
        """Whether the backward passes within are averaged over the processes, or left for later.

        Args:
            network: As `wrap` gave it.
            now: False for all parts of a batch but the last.
        """
        if now or self.world_size == 1:
            return nullcontext()
        return cast(DistributedDataParallel, getattr(network, "_orig_mod", network)).no_sync()

    def free_memory(self) -> int | None:
        """Bytes that the device has left for this process; None where that is not known."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        free = free_main_memory() if self.device.type == "cpu" else None
        # Processes on one machine share its memory.
        return None if free is None else free // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

    def used_memory(self) -> int | None:
        """Bytes that this process has taken on the device; None where that is not known."""
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        lines = _lines("/proc/self/status", "VmRSS") if self.device.type == "cpu" else []
        return int(lines[0].split()[1]) * 1024 if lines else None

    def mean(self, value: Tensor) -> Tensor:
        """Values averaged over the processes."""
        if self.world_size == 1:
            return value
        value = value.detach().clone()
        dist.all_reduce(value)
        return value / self.world_size

    def gather(self, values: Tensor) -> Tensor:
        """Rows of all processes, in order of rank; each may bring another number of rows."""
        if self.world_size == 1:
            return values
        counts = self.gather_counts(len(values))
        padded = values.new_zeros(max(counts), *values.shape[1:])
        padded[: len(values)] = values
        everyones = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(everyones, padded)
        return torch.cat([v[:n] for v, n in zip(everyones, counts, strict=True)])

    def gather_own_first(self, values: Tensor) -> Tensor:
        """Rows of all processes, this one's first, with gradients to all of them."""
        if self.world_size == 1:
            return values
        return cast(Tensor, _GatheredRows.apply(values, self))

    def of_main(self, values: Tensor) -> Tensor:
        """The first process's values; the others' have the same shape and are overwritten."""
        if self.world_size > 1:
            dist.broadcast(values, src=0)
        return values

    def gather_counts(self, count: int) -> list[int]:
        """One integer of every process, in order of rank."""
        if self.world_size == 1:
            return [count]
        mine = torch.tensor([count])
        everyones = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(everyones, mine)
        return [int(n) for n in everyones]

    def gather_objects(self, value: Any) -> list[Any]:
        """One small Python object of every process, in order of rank."""
        if self.world_size == 1:
            return [value]
        everyones: list[Any] = [None] * self.world_size
        dist.all_gather_object(everyones, value)
        return everyones

    def gather_to_main(self, value: Any) -> list[Any]:
        """One Python object of every process, in order of rank; none to all but the main one."""
        if self.world_size == 1:
            return [value]
        everyones = [None] * self.world_size if self.is_main else None
        dist.gather_object(value, everyones)
        return everyones or []

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()

    @contextmanager
    def main_first(self, needed: bool = True) -> Iterator[None]:
        """Let the first process do something before the others: download data, for instance.

        Args:
            needed: Whether they have to wait; the same in all processes.
        """
        if needed and not self.is_main:
            self.barrier()
        yield
        if needed and self.is_main:
            self.barrier()

    def without_others(self) -> Runtime:
        """This process by itself, for what it does after the others have ended."""
        single = copy.copy(self)
        single.rank, single.world_size = 0, 1
        return single


_joined: dist.ProcessGroup | None = None
"""The group that this process has joined here; None where there is none, or somebody else's."""


def _join_group() -> None:
    """Meet the other processes, for all commands of a script.

    They cannot part and meet again: torchrun keeps the addresses of the first meeting.
    """
    global _joined
    # Counts travel by gloo, so that no step waits for the GPU to learn them.
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _joined = dist.group.WORLD
    atexit.register(_leave_group)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class _GatheredRows(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum of what each process has for it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, runtime: Runtime) -> Tensor:
        counts = runtime.gather_counts(len(rows))
        begin = sum(counts[: runtime.rank])
        ctx.own = slice(begin, begin + len(rows))
        everyones = runtime.gather(rows.contiguous())
        return torch.cat([rows, everyones[: ctx.own.start], everyones[ctx.own.stop :]])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        own, before = gradients[0].tensor_split([ctx.own.stop - ctx.own.start])
        begin = ctx.own.start
        in_order = torch.cat([before[:begin], own, before[begin:]])
        dist.all_reduce(in_order)
        return in_order[ctx.own], None


def free_main_memory() -> int | None:
    """Bytes of the machine's own memory that are left; None where that is not known."""
    lines = _lines("/proc/meminfo", "MemAvailable")
    return int(lines[0].split()[1]) * 1024 if lines else None


def _resolve_device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        name = "cpu" if accelerator is None else accelerator.type
    if re.fullmatch(DEVICES, name) is None:
        raise ConfigError(
            f"--device is {name!r}; expected auto, cpu, cuda, cuda:1 (the second GPU) or mps"
        )
    try:
        device = torch.device(name)
        if device.type == "cuda":
            if device.index is None:
                device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        # The rest of torch's words is about its own insides.
        (reason, *_) = str(error).splitlines() or [type(error).__name__]
        if name == "mps":
            reason = "it needs an Apple processor, and torch built for it"
        raise ConfigError(f"--device {name} cannot be used here: {reason}") from error
    return device


def _resolve_precision(name: str, device: torch.device) -> str:
    if name != "auto":
        return name
    if device.type == "cuda":
        return (
            "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        )
    # Without these instructions bfloat16 is emulated on a processor, slower than float32.
    native = device.type == "cpu" and _cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}
    return "bf16-mixed" if native else "32-true"


def _has_compiler() -> bool:
    """Whether the one compiler is there that torch would call."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    named = os.environ.get("CXX") or usual  # "ccache g++" is possible, as is a path with spaces
    return any(shutil.which(words) for words in (named, named.split()[0]))


def _cpu_flags() -> set[str]:
    """Instruction sets of this processor, as Linux names them; empty elsewhere."""
    lines = _lines("/proc/cpuinfo", "flags", "Features")
    return set(lines[0].split(":", 1)[1].split()) if lines else set()


def _lines(path: str, *beginnings: str) -> list[str]:
    """The lines of one of Linux's files that begin so; none on other systems."""
    try:
        with open(path) as lines:
            return [line for line in lines if line.startswith(beginnings)]
    except OSError:
        return []
