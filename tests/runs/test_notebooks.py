from __future__ import annotations

import sys

import pytest

from quarterturn import ConfigError, Run


def test_metrics_are_a_table(digits_run: Run) -> None:
    frame = digits_run.metrics()
    lines = digits_run.read_metrics("train")
    assert frame["loss"].tolist() == [line["loss"] for line in lines]
    assert {"step", "epoch", "rotation", "invariance", "instance"} <= set(frame.columns)
    assert "kind" not in frame
    assert digits_run.metrics("evaluation").empty
    with pytest.raises(ConfigError, match="kind 'trian'; there are train, diagnostics"):
        digits_run.metrics("trian")


def test_without_pandas_there_is_a_clear_word(
    digits_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"Run\.metrics gives a table of pandas, which is not"):
        digits_run.metrics()


def test_a_notebook_shows_what_a_run_is(digits_run: Run, make_run) -> None:
    shown = digits_run._repr_html_()
    for words in ("decoupling", "after 2 of 2 epochs", "digits", digits_run.path.name):
        assert words in shown
    assert f"<a href='{(digits_run.path / 'report.html').as_uri()}'>" in shown
    other = make_run("a<b>", class_names=("cat & dog", "<i>"))
    assert "a&lt;b&gt;" in other._repr_html_()
    assert "cat &amp; dog, &lt;i&gt;" in other._repr_html_()
    other.checkpoint.unlink()
    assert "none yet" in other._repr_html_()
