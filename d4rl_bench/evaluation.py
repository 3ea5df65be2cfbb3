"""What a policy is worth on a task: whole episodes in the environment, by the paper's protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.statistics import mean_with_ci95
from d4rl_bench.environments import make_environments
from d4rl_bench.scaling import Scaler
from d4rl_bench.task import Task
from learners.policy import GaussianPolicy

Act = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Actions (N, A) for raw observations (N, O)."""

RECIPE = 1
"""Raised with any change, here or in the environments, after which the same policy has another score; that of a family if only there."""
FAMILY_CHANGES = {"antmaze": 1}


def recipe(task: Task) -> int:
    """RECIPE and what has changed of the task's family beside it."""
    return RECIPE + FAMILY_CHANGES.get(task.family, 0)


def mean_action(policy: GaussianPolicy, scaler: Scaler) -> Act:
    """The mean of a single policy that sees scaled observations."""

    def act(observations: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            return policy(torch.from_numpy(scaler(observations))).numpy()

    return act


class Evaluator:
    """Runs `task.evaluation_episodes` episodes side by side, the same starts each time: seeds `seed`, `seed` + 1, ..."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed
        self._environments = make_environments(task, task.evaluation_episodes)

    def rewards(self, act: Act) -> NDArray[np.float64]:
        """Of each step of each episode (T, N), until the longest has ended; 0 after an episode's end."""
        observations, _ = self._environments.reset(seed=self.seed)
        running = np.ones(len(observations), dtype=np.bool_)
        steps = []
        while running.any():
            observations, rewards, terminated, truncated, _ = self._environments.step(act(observations))
            steps.append(np.where(running, rewards, 0.0))
            running &= ~(terminated | truncated)
        return np.array(steps)

    def returns(self, act: Act) -> NDArray[np.float64]:
        """The return of each episode (N,)."""
        total: NDArray[np.float64] = self.rewards(act).sum(axis=0)
        return total

    def score(self, act: Act) -> float:
        """D4RL's score of the mean return."""
        return self.task.score(float(self.returns(act).mean()))

    def measure(self, act: Act) -> dict[str, Any]:
        """`{"score", "return": {"mean", "ci95"}}`."""
        returns = self.returns(act)
        return {"score": self.task.score(float(returns.mean())), "return": mean_with_ci95(returns)}

    def close(self) -> None:
        """Give the environments back."""
        self._environments.close()
