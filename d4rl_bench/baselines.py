"""The methods that the benchmark is compared with: d3rlpy's, in a process and an interpreter of its own.

d3rlpy 2.8.1 pins an older gymnasium than this project's, so it lives in an environment of its own (`make baselines`) and meets this
process in files (data and policies, plain arrays) and frames (see `d3rlpy_worker`, which also says where each method's settings are from).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.checks import OPEN_SHARE, POSITIVE, at_least, require
from common.config import config_hash
from common.errors import ConfigError
from d4rl_bench.baseline_policy import BaselineError, TanhPolicy
from d4rl_bench.d3rlpy_process import D3rlpyProcess, Steps, find_interpreter
from learners.progress import Progress
from learners.transitions import Transitions

LOG = "d3rlpy.log"

METHODS = ("bc", "iql", "td3+bc", "cql", "awac", "cal-ql")
ONLINE_METHODS = ("iql", "awac", "cal-ql")

MAX_SEED = 2**32 - 1
"""What d3rlpy takes"""
RECIPE = 1
"""Raised with any change, here, in the worker or in how data are handed over, after which equal data, settings and seeds give other
policies."""


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes and training of a baseline. Defaults suit two cores; d3rlpy's own reproductions of published scores take 500,000 steps."""

    steps: int = 30_000
    """gradient steps"""
    batch_size: int = 256
    """transitions a step"""
    hidden: tuple[int, ...] = (256, 256)
    """hidden layers of the policy, of each Q network and of V"""
    expectile: float = 0.7
    """IQL's tau: 0.9 for antmaze"""
    weight_temp: float = 3.0
    """IQL's inverse temperature: in its paper 3 for locomotion, 10 for antmaze, 0.5 for Adroit and kitchen"""
    checkpoints: int = 10
    """policies that are kept on the way, evenly spread; the last is the result"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size", "hidden", "checkpoints")
        require(self, OPEN_SHARE, "expectile")
        require(self, POSITIVE, "weight_temp")
        if self.steps % self.checkpoints:
            raise ConfigError(f"steps is {self.steps}; it must be a multiple of checkpoints, which is {self.checkpoints}")


@dataclass(frozen=True)
class OnlineBaselineConfig:
    """Fine-tuning of a baseline in its environment."""

    steps: int = 100_000
    """steps in the environment"""
    update_every: int = 1
    """environment steps for each gradient step"""
    evaluate_every: int = 10_000
    """steps between two policies that are kept"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "update_every", "evaluate_every")
        if self.steps % self.evaluate_every:
            raise ConfigError(f"steps is {self.steps}; it must be a multiple of evaluate_every, which is {self.evaluate_every}")


def train_baseline(
    method: str, data: Transitions, config: BaselineConfig, seed: int, folder: Path, progress: Progress, threads: int = 1
) -> list[tuple[int, TanhPolicy]]:
    """Train `method` (one of METHODS) on the data; returns (step, policy) at every checkpoint, the last of which is the result.

    `folder` gets the policies as `policy_<step>.npz`, whole when `progress(method, step, ...)` is told of the step, d3rlpy's log, and the
    networks for `finetune_baseline`; what an interrupted run left there is gone on with, from its last checkpoint. Actions are meant to
    lie in -1 to 1, which is what the policies reach. BaselineMissingError without d3rlpy; BaselineError, on one line, for a method that
    there is not and for training that fails.
    """
    _require_method(method, METHODS)
    settings = _settings(method, data, config, seed, folder, folder, threads)
    _run(settings | {"online_steps": 0}, data, folder, progress)
    try:
        return _policies(folder, "policy", range(settings["checkpoint_every"], config.steps + 1, settings["checkpoint_every"]))
    except BaselineError as error:  # one from before the state that was gone on with, which does not make it again
        raise BaselineError(f"{error}; delete {settings['state']} to train anew") from error


def finetune_baseline(
    method: str,
    data: Transitions,
    config: BaselineConfig,
    online: OnlineBaselineConfig,
    environment: Steps,
    seed: int,
    start: Path,
    folder: Path,
    progress: Progress,
    threads: int = 1,
) -> list[tuple[int, TanhPolicy]]:
    """Go on with `method` (one of ONLINE_METHODS) in the environment; returns (step, policy) from step 0 on, every `evaluate_every` steps.

    Trains on the data first, unless `train_baseline` has done so in `start` with the same data, config and seed. The method's own
    stochastic policy explores; what it records joins the data, and every `update_every` steps there is a gradient step. `folder` gets
    `online_<step>.npz`; the progress's part is "<method> online". Raises as `train_baseline`, and whatever the environment raises.
    """
    _require_method(method, ONLINE_METHODS)
    settings = _settings(method, data, config, seed, start, folder, threads)
    own = {"online_steps": online.steps, "update_every": online.update_every, "evaluate_every": online.evaluate_every}
    _run(settings | own, data, folder, progress, environment)
    return _policies(folder, "online", range(0, online.steps + 1, online.evaluate_every))


def _require_method(method: str, methods: tuple[str, ...]) -> None:
    if method not in methods:
        raise BaselineError(f"there is no baseline '{method}' here; there are {', '.join(methods)}")


def _settings(method: str, data: Transitions, config: BaselineConfig, seed: int, start: Path, folder: Path, threads: int) -> dict[str, Any]:
    """What the worker is told, but for what it is to do. `start` is where the state of the offline training is, or will be."""
    return asdict(config) | {
        "method": method,
        "checkpoint_every": config.steps // config.checkpoints,
        "seed": seed,
        "threads": threads,
        "folder": str(folder),
        "data": str(folder / "data.npz"),
        "state": str(start / f"training_{_digest(method, data, config, seed)}.npz"),
    }


def _digest(method: str, data: Transitions, config: BaselineConfig, seed: int) -> str:
    """Names a training by all that decides it, so that no other is taken for it."""
    digest = hashlib.sha256(f"{RECIPE} {method} {config_hash(config)} {seed}".encode())
    for array in _arrays(data).values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _arrays(data: Transitions) -> dict[str, Any]:
    """What d3rlpy wants: rows one after the other, and where episodes end. An episode without an end of its own is truncated."""
    last = np.zeros(len(data), dtype=np.bool_)
    last[np.append(data.episode_starts[1:], len(data)) - 1] = True
    return {
        "observations": data.observations,
        "actions": data.actions,
        "rewards": data.rewards,
        "terminated": data.terminated,
        "truncated": (data.truncated | last) & ~data.terminated,
    }


def _run(settings: dict[str, Any], data: Transitions, folder: Path, progress: Progress, environment: Steps | None = None) -> None:
    """Start the worker and serve it until it has ended."""
    interpreter = find_interpreter()
    folder.mkdir(parents=True, exist_ok=True)
    with _written(Path(settings["data"]), data), D3rlpyProcess(interpreter, settings, folder / LOG) as process:
        process.serve(progress, environment)


@contextmanager
def _written(path: Path, data: Transitions) -> Iterator[None]:
    """The data as a file for as long as the worker may read it."""
    try:
        np.savez(path, **_arrays(data))
        yield
    finally:
        path.unlink(missing_ok=True)


def _policies(folder: Path, name: str, steps: range) -> list[tuple[int, TanhPolicy]]:
    return [(step, TanhPolicy.load(folder / f"{name}_{step}.npz")) for step in steps]
