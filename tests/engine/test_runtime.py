from __future__ import annotations

import copy
import functools
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import quarterturn.engine.runtime as runtime
from quarterturn.config import OptimizerConfig
from quarterturn.data.batches import Batch
from quarterturn.engine.loop import Training, training_step
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.errors import ConfigError
from quarterturn.methods.decoupling import DecoupledNetwork, Decoupling
from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.methods.instance_options import InstanceOptions
from quarterturn.models.backbone import Backbone


def test_one_process_is_a_world_of_its_own() -> None:
    alone = Runtime("cpu", "32-true")
    values = torch.arange(3.0)
    assert alone.is_main
    assert torch.equal(alone.gather(values), values)
    assert torch.equal(alone.mean(values), values)
    assert alone.gather_counts(5) == [5]
    assert alone.gather_objects({"a": 1}) == [{"a": 1}]
    network = torch.nn.Linear(2, 2)
    assert alone.wrap(network) is network


def test_one_of_several_processes_can_work_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    single = Runtime("cpu", "32-true", single=True)
    assert (single.rank, single.world_size) == (0, 1)
    assert single.is_main
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx2"}, "32-true"),
        ({"avx2", "avx512_bf16"}, "bf16-mixed"),
        ({"amx_bf16"}, "bf16-mixed"),
        ({"asimd", "bf16"}, "bf16-mixed"),
        (set(), "32-true"),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_has_it(
    flags: set[str], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_cpu_flags", lambda: flags)
    assert Runtime("cpu", "auto").precision == precision
    assert Runtime("cpu", "32-true").precision == "32-true"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_autocast(precision: str, dtype: torch.dtype) -> None:
    with Runtime("cpu", precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize(
    "name", ["nonsense", "meta", "vulkan", "hpu", "cpu:7", "cuda:x", "", "cuda:"]
)
def test_a_device_that_computes_nothing(name: str) -> None:
    words = f"--device is '{name}'; expected auto, cpu, cuda, cuda:1 (the second GPU) or mps"
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        Runtime(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="on Apple's processors it is there")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"^--device mps cannot be used here: it needs an Apple pr"
    ):
        Runtime("mps")


def test_only_the_first_line_of_torchs_reason_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: object) -> None:
        raise RuntimeError("invalid device ordinal\nCUDA kernel errors might be reported later")

    monkeypatch.setattr(torch.cuda, "set_device", refuse)
    with pytest.raises(
        ConfigError, match=r"^--device cuda:9 cannot be used here: invalid device ordinal$"
    ):
        Runtime("cuda:9")


def test_a_bare_cuda_device_gets_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device refuses a device without one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    assert runtime._resolve_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert runtime._resolve_device("cuda") == torch.device("cuda", 3)
    assert chosen == [torch.device("cuda", 0), torch.device("cuda", 3)]


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"--compile needs a C\+\+ compiler"):
        Runtime("cpu", "32-true", compile=True)
    assert not Runtime("cpu", "32-true").compile  # nobody else needs one


@pytest.mark.parametrize(
    ("system", "there", "named", "found"),
    [
        ("linux", "g++", None, True),
        ("linux", "clang++", None, False),  # torch would not call it
        ("linux", "clang++", "clang++", True),
        ("linux", "g++", "clang++", False),
        ("linux", "ccache", "ccache g++", True),
        ("linux", "g++", "", True),
        ("darwin", "clang++", None, True),
        ("win32", "cl", None, True),
    ],
)
def test_the_compiler_is_the_one_that_torch_calls(
    system: str, there: str, named: str | None, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.sys, "platform", system)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name == there else None)
    if named is None:
        monkeypatch.delenv("CXX", raising=False)
    else:
        monkeypatch.setenv("CXX", named)
    assert runtime._has_compiler() == found


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",  # the same graphs, and no compiler of C++
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not runtime._has_compiler(), reason="no C++ compiler"),
            ],
        ),
    ],
)
def test_a_compiled_step_differs_only_by_rounding(
    backend: str,
    tiny_backbone: Backbone,
    batch: Batch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # compiled here and now
    monkeypatch.setattr(runtime, "_has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    settings = InstanceOptions(num_noise=8)
    ends = []
    for compile in (False, True):
        torch.manual_seed(0)
        network = DecoupledNetwork(copy.deepcopy(tiny_backbone), 4)
        method = Decoupling(network, InstanceDiscrimination(20, 4, settings))
        at_work = Runtime("cpu", "32-true", compile=compile)
        training = Training(
            method,
            SimpleNamespace(steps_per_epoch=1),
            build_optimizer(network, OptimizerConfig(learning_rate=0.1)),
            OptimizerConfig(),
            at_work,
            Telemetry(None, total_steps=1, steps_per_epoch=1),
            epochs=1,
        )
        before = {name: value.clone() for name, value in network.state_dict().items()}
        wrapped = at_work.wrap(network)
        assert (wrapped is network) != compile
        wrapped.train()
        terms = training_step(training, wrapped, batch)
        assert all(
            not torch.equal(value, before[name]) for name, value in network.state_dict().items()
        )
        ends.append({**network.state_dict(), **terms, "bank": method.discrimination.bank.rows})
    plain, compiled = ends
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-6, msg=name)


class Stream:
    """Stands in for a stream of a GPU; what happens is kept in `events`, in its order."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events

    def wait_stream(self, other: Stream) -> None:
        self.events.append(f"{self.name} waits for {other.name}")

    def __enter__(self) -> None:
        self.events.append(f"on {self.name}")

    def __exit__(self, *error: object) -> None:
        self.events.append("on steps")


class OnDevice(torch.Tensor):
    """A tensor that notes which stream uses it."""

    def record_stream(self, stream: Stream) -> None:
        stream.events.append(f"uses {int(self)}")


def prepared(numbers: list[int], events: list[str]):
    for number in numbers:
        events.append(f"prepare {number}")
        values = torch.tensor(number).as_subclass(OnDevice)
        yield SimpleNamespace(images=values, labels=None, epoch=0)


def test_batches_are_prepared_on_a_stream_of_their_own(monkeypatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", events))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("steps", events))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    on_gpu = Runtime("cpu", "32-true")
    on_gpu.device = torch.device("cuda")
    for batch in on_gpu.ahead(prepared([1, 2], events)):
        events.append(f"step {int(batch.images)}")
    of_batches = [
        ["on side", f"prepare {n}", "on steps", "steps waits for side", f"uses {n}", f"step {n}"]
        for n in (1, 2)
    ]
    expected = ["side waits for steps", *of_batches[0], *of_batches[1], "on side", "on steps"]
    assert events == expected


def test_a_processor_prepares_batches_as_they_are_asked_for() -> None:
    events: list[str] = []
    found = [int(b.images) for b in Runtime("cpu").ahead(prepared([1, 2], events))]
    assert found == [1, 2]
    assert events == ["prepare 1", "prepare 2"]
