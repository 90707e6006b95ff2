from __future__ import annotations

import pytest
import torch

import quarterturn.engine.runtime as runtime
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError


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


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="--device nonsense cannot be used here"):
        Runtime("nonsense")


def test_a_bare_cuda_device_gets_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device refuses a device without one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    assert runtime._resolve_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert runtime._resolve_device("cuda") == torch.device("cuda", 3)
    assert chosen == [torch.device("cuda", 0), torch.device("cuda", 3)]
