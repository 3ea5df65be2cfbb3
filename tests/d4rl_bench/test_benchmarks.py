"""Programs in benchmarks/ that stand on the benchmark's code: what they leave alone, and how often they ask."""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch

from d4rl_bench.markdown import BEGIN, END, MarkdownError
from learners.dynamics import DynamicsConfig
from learners.gate import GateConfig
from learners.iql import IqlConfig
from learners.policy import GaussianPolicy

MEMBERS, POLICIES = 1, 3


@pytest.fixture
def program(root, monkeypatch):
    """Loads a program by its name, as if it were run."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return importlib.import_module


@pytest.fixture
def learner():
    """A learner that answers every query with the same luck, and keeps the precisions in which it was asked."""

    def estimate(policies, starts):
        asked.append((made.critics.config.precision, made.model.config.precision))
        return torch.arange(float(len(policies)))[:, None] + torch.linspace(0.0, 0.1, 8)

    asked = []
    made = SimpleNamespace(
        critics=SimpleNamespace(config=IqlConfig(precision="fp32")), model=SimpleNamespace(config=DynamicsConfig(precision="fp32")),
        config=SimpleNamespace(members=MEMBERS, gate=GateConfig()), data=SimpleNamespace(draw_observations=lambda *_: None),
        generator=None, begin=lambda _: None, estimate=estimate, asked=asked,
        draw_luck=lambda starts, horizon: (torch.zeros(starts, 2), None),
    )  # fmt: skip
    return made


def policies():
    return [GaussianPolicy(2, 1, (4,)) for _ in range(POLICIES)]


@pytest.mark.parametrize("text", ["above\n", f"above\n{BEGIN}\nold, and the rest of the page\n"])
def test_a_page_without_its_marks_is_refused_by_the_gates_tables_too(program, root, tmp_path, monkeypatch, text):
    page = tmp_path / "gate.md"
    page.write_text(text)
    places = ["--results", str(root / "results/gates"), "--cells", str(tmp_path), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", ["gate_table.py", *places])
    with pytest.raises(MarkdownError, match=f"must have one line {BEGIN} and below it one line {END}"):
        program("gate_table").main()
    assert page.read_text() == text


@pytest.mark.parametrize("name", ["--rounds", "--steps", "--threads"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_steps_are_timed_at_least_once(program, monkeypatch, capsys, name, value):
    monkeypatch.setattr(sys, "argv", ["offline.py", f"{name}={value}"])
    with pytest.raises(SystemExit) as caught:
        program("offline").main()
    assert caught.value.code == 2
    assert f"argument {name}: '{value}' is no whole number of at least 1" in capsys.readouterr().err


def test_a_learner_that_was_asked_in_another_precision_is_as_it_was(program, learner):
    assert len(program("precision").decided(learner, policies(), "bf16")) == POLICIES - MEMBERS
    assert learner.asked == [("bf16", "bf16")]
    assert (learner.critics.config.precision, learner.model.config.precision) == ("fp32", "fp32")


def test_a_query_without_pairs_is_asked_as_often_as_ours(program, learner, monkeypatch):
    queries = program("queries")

    def drawn(learner, ensemble, starts, *_):
        (count,) = ensemble.members
        return 10.0 * torch.arange(count)[:, None] + torch.randn(count, len(starts))

    monkeypatch.setattr(queries, "as_we_do", drawn)
    monkeypatch.setattr(queries, "in_full", drawn)
    told = queries.signs(learner, policies(), MEMBERS, horizon=1, repeats=3)["signs"]
    assert len(told["unpaired"]) == len(told["ours, 510 starts"]) == 3
