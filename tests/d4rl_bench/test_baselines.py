"""Baselines from the other interpreter: policies as arrays, failures as one line, no process left behind."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import ConfigError
from d4rl_bench.baseline_policy import BaselineError, TanhPolicy
from d4rl_bench.baselines import METHODS, ONLINE_METHODS, BaselineConfig, OnlineBaselineConfig, finetune_baseline, train_baseline
from d4rl_bench.d3rlpy_process import INTERPRETER_VARIABLE, BaselineMissingError, find_interpreter
from learners.progress import silent
from tests.d4rl_bench.processes import children, ends_with_its_parent
from tests.d4rl_bench.pushed_point import ACTION_SIZE, CONFIG, ONLINE, ROWS, TRAINING_PARENT, Broken, Call, Point, made_data


@pytest.fixture(scope="module")
def needs_d3rlpy() -> None:
    try:
        find_interpreter()
    except BaselineMissingError as error:
        pytest.skip(str(error))


@dataclass
class Training:
    """What a method left; those that can be fine-tuned are, for as long."""

    folder: Path
    calls: list[Call] = field(default_factory=list)
    offline: dict[int, TanhPolicy] = field(default_factory=dict)
    online: dict[int, TanhPolicy] = field(default_factory=dict)
    point: Point = field(default_factory=Point)

    def run(self, method: str) -> None:
        def progress(*call: Any) -> None:
            self.calls.append(call)

        if method in ONLINE_METHODS:
            self.online = dict(finetune_baseline(method, made_data(), CONFIG, ONLINE, self.point, 0, self.folder, self.folder, progress))
            self.offline = {step: TanhPolicy.load(self.folder / f"policy_{step}.npz") for step in (100, 200)}
        else:
            self.offline = dict(train_baseline(method, made_data(), CONFIG, 0, self.folder, progress))


Trained = Callable[[str], Training]


@pytest.fixture(scope="module")
def trained(needs_d3rlpy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Method -> what it left. All begin at once, two at a time: the libraries take seconds to start. Who asks for one waits for it."""
    trainings = {method: Training(tmp_path_factory.mktemp("baseline")) for method in METHODS}

    def finished(method: str) -> Training:
        running[method].result()
        return trainings[method]

    with ThreadPoolExecutor(2) as pool:
        running = {method: pool.submit(training.run, method) for method, training in trainings.items()}
        yield finished


@pytest.mark.parametrize("method", METHODS)
def test_each_method_leaves_a_policy_at_every_checkpoint(trained: Trained, method: str) -> None:
    policies = trained(method).offline
    assert list(policies) == [100, 200]
    halfway, last = (policy.act(made_data().observations) for policy in policies.values())
    assert last.shape == (ROWS, ACTION_SIZE)
    assert last.dtype == np.float32
    assert np.abs(last).max() <= 1
    assert not np.array_equal(halfway, last)
    assert [weight.shape for weight, _ in policies[200].layers] == [(32, 4), (32, 32), (2, 32)]


@pytest.mark.parametrize("method", METHODS)
def test_progress_tells_steps_and_losses(trained: Trained, method: str) -> None:
    calls = [call for call in trained(method).calls if call[0] == method]
    assert [call[:3] for call in calls] == [(method, 100, 200), (method, 200, 200)]
    assert all(call[3] for call in calls)
    assert not [name for call in calls for name in call[3] if name.startswith("time")]


def test_nothing_but_policies_the_state_and_the_log_is_left(trained: Trained) -> None:
    names = sorted(path.name for path in trained("bc").folder.iterdir())
    assert [name for name in names if not name.startswith("training_")] == ["d3rlpy.log", "policy_100.npz", "policy_200.npz"]
    assert len(names) == 4


def test_cloning_comes_near_actions_that_are_linear_in_observations(trained: Trained) -> None:
    data = made_data()
    errors = [np.square(policy.act(data.observations) - data.actions).mean() for policy in trained("bc").offline.values()]
    assert errors[1] < errors[0] < 0.3 * data.actions.var()
    assert errors[1] < 0.05 * data.actions.var()


@pytest.mark.parametrize("method", ONLINE_METHODS)
def test_fine_tuning_goes_on_in_the_environment(trained: Trained, method: str) -> None:
    training = trained(method)
    assert list(training.online) == [0, 150, 300]
    assert training.point.steps == 300
    assert training.point.episodes > 300 / 20
    assert 0 < training.point.largest_action <= 1
    observations = made_data().observations
    start, end = training.online[0].act(observations), training.online[300].act(observations)
    assert np.array_equal(start, training.offline[200].act(observations))
    assert not np.array_equal(start, end)
    calls = [call for call in training.calls if call[0] != method]
    assert [call[:3] for call in calls] == [(f"{method} online", step, 300) for step in (100, 150, 200, 300)]
    assert "rollout_return" in calls[-1][3]


def test_fine_tuning_again_starts_from_the_training_that_is_there(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("iql").folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "online_0.npz").unlink()
    calls = list[Call]()
    with pytest.raises(ZeroDivisionError):
        finetune_baseline("iql", made_data(), CONFIG, ONLINE, Broken(), 0, tmp_path, tmp_path, lambda *call: calls.append(call))
    assert not calls
    assert not children(os.getpid(), tmp_path)
    assert (tmp_path / "online_0.npz").read_bytes() == (trained("iql").folder / "online_0.npz").read_bytes()


def test_a_training_on_other_data_is_not_taken_and_a_failure_is_one_line(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("iql").folder, tmp_path, dirs_exist_ok=True)
    data = made_data()
    data.actions[:] = np.nan
    with pytest.raises(BaselineError, match=r"^iql of d3rlpy failed: ValueError: [^\n]*; see [^\n]*d3rlpy.log$"):
        finetune_baseline("iql", data, CONFIG, ONLINE, Point(), 0, tmp_path, tmp_path, silent)


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"PK" + content])
def test_a_damaged_state_is_named_and_may_be_deleted(trained: Trained, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    shutil.copytree(trained("bc").folder, tmp_path, dirs_exist_ok=True)
    (state,) = tmp_path.glob("training_*.npz")
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(BaselineError, match=rf"failed: ValueError: {state} is damaged \(\w+\); delete it to train anew; see "):
        train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)


@pytest.mark.parametrize("method", ["bc", "iql", "td3+bc"])
def test_an_interrupted_training_goes_on_to_the_same_policy(trained: Trained, tmp_path: Path, method: str) -> None:
    def interrupt(part: str, done: int, total: int, figures: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_baseline(method, made_data(), CONFIG, 0, tmp_path, interrupt)
    assert not children(os.getpid(), tmp_path)
    assert not (tmp_path / "policy_200.npz").exists()
    calls = list[Call]()
    resumed = dict(train_baseline(method, made_data(), CONFIG, 0, tmp_path, lambda *call: calls.append(call)))
    assert [call[:3] for call in calls] == [(method, 200, 200)]
    for step, policy in trained(method).offline.items():
        for layer, layer_again in zip(policy.layers, resumed[step].layers, strict=True):
            assert all(np.array_equal(values, values_again) for values, values_again in zip(layer, layer_again, strict=True))


def test_a_parent_that_dies_takes_the_worker_along(needs_d3rlpy: None, tmp_path: Path, root: Path) -> None:
    ends_with_its_parent(TRAINING_PARENT, b"100\n", tmp_path, root)


@pytest.mark.parametrize("path", ["/nowhere/python", "/"])
def test_without_d3rlpy_one_line_says_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str) -> None:
    monkeypatch.setenv(INTERPRETER_VARIABLE, path)
    with pytest.raises(BaselineMissingError, match=f"no Python with d3rlpy at {path}; run: make baselines") as caught:
        train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)
    assert "\n" not in str(caught.value)


def test_an_interpreter_without_d3rlpy_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(INTERPRETER_VARIABLE, sys.executable)
    with pytest.raises(BaselineError, match=r"^bc of d3rlpy failed: ModuleNotFoundError: No module named 'd3rlpy'; see"):
        train_baseline("bc", made_data(), CONFIG, 0, tmp_path, silent)


def test_methods_that_there_are_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="no baseline 'sac' here; there are bc, iql, td3\\+bc, cql, awac, cal-ql"):
        train_baseline("sac", made_data(), CONFIG, 0, tmp_path, silent)
    with pytest.raises(BaselineError, match="no baseline 'bc' here; there are iql, awac, cal-ql"):
        finetune_baseline("bc", made_data(), CONFIG, ONLINE, Point(), 0, tmp_path, tmp_path, silent)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"steps": 15}, "steps is 15; it must be a multiple of checkpoints, which is 10"),
        ({"hidden": (256, 0)}, "hidden"),
        ({"expectile": 1.0}, "expectile"),
        ({"weight_temp": 0.0}, "weight_temp"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        BaselineConfig(**values)


def test_evaluations_must_divide_the_online_steps() -> None:
    with pytest.raises(ConfigError, match="steps is 100; it must be a multiple of evaluate_every, which is 30"):
        OnlineBaselineConfig(steps=100, evaluate_every=30)


def arrays(**changes: Any) -> dict[str, Any]:
    """A policy of 2 observations, 3 hidden units and 1 action; None leaves an array out."""
    ones: dict[str, Any] = {name: np.ones(shape, np.float32) for name, shape in LAYERS.items()}
    return {name: values for name, values in (ones | changes).items() if values is not None}


LAYERS = {"weight_0": (3, 2), "bias_0": (3,), "weight_1": (1, 3), "bias_1": (1,)}


def test_a_policy_is_relu_layers_and_a_tanh(tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    first = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    np.savez(path, **arrays(weight_0=first, bias_0=np.array([0.5, 0, 0], np.float32), bias_1=np.array([-1], np.float32)))
    # (1, -2): hidden 1.5, 0, 0; (-1, 0.5): 0, 0.5, 1
    actions = TanhPolicy.load(path).act(np.array([[1, -2], [-1, 0.5]], np.float32))
    assert actions == pytest.approx(np.tanh([[0.5], [0.5]]))
    assert actions.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (arrays(bias_1=None), "not weight_0, bias_0 and so on"),
        (arrays(weight_0=None, bias_0=None, weight_1=None, bias_1=None), "not weight_0, bias_0 and so on"),
        (arrays(extra=np.ones(1, np.float32)), "not weight_0, bias_0 and so on"),
        ({f"{kind}_{i}": np.ones(1, np.float32) for kind in ("weight", "bias") for i in range(17)}, "1 to 16 layers"),
        (arrays(weight_1=np.ones((1, 4), np.float32)), "weight_1 is (1, 4), but its bias has 1 values and its input 3"),
        (arrays(bias_0=np.ones(2, np.float32)), "weight_0 is (3, 2), but its bias has 2 values"),
        (arrays(bias_0=np.ones((3, 1), np.float32)), "bias_0 is float32 (3, 1), not float32 of 1 dimensions"),
        (arrays(weight_0=np.ones((3, 2))), "weight_0 is float64"),
        (arrays(weight_0=np.ones((3, 0), np.float32)), "weight_0 is float32 (3, 0)"),
        (arrays(bias_0=np.ones(8193, np.float32)), "bias_0 is float32 (8193,)"),
        (arrays(bias_1=np.array([np.nan], np.float32)), "bias_1 has values that are not finite"),
        (arrays(weight_1=np.full((1, 3), np.inf, np.float32)), "weight_1 has values that are not finite"),
        (arrays(weight_0=np.array([[{}, {}]] * 3, dtype=object)), "allow_pickle"),
    ],
)
def test_policies_that_are_none_are_refused(tmp_path: Path, content: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "policy.npz"
    np.savez(path, **content)
    with pytest.raises(BaselineError) as caught:
        TanhPolicy.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert complaint in message
    assert "\n" not in message


def test_a_policy_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    np.savez_compressed(path, **arrays(weight_0=np.zeros((8192, 8193), np.float32)))
    assert path.stat().st_size < 2**20
    with pytest.raises(BaselineError, match="more than 268,435,456"):
        TanhPolicy.load(path)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not an archive"])
def test_files_that_are_no_archives_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "policy.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BaselineError, match=r"not a readable .npz of plain arrays"):
        TanhPolicy.load(path)
