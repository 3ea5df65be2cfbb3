"""A data set as tensors, and random batches of it: single steps, or stretches of several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.transitions import Transitions


@dataclass(frozen=True)
class Batch:
    """B transitions, each over one step or a stretch of several; rewards are scaled, terminated is 0 or 1."""

    observations: Tensor  # (B, O)
    actions: Tensor  # (B, A)
    rewards: Tensor  # (B,)
    next_observations: Tensor  # (B, O)
    terminated: Tensor  # (B,) float
    steps: Tensor  # (B,) float, from observations to next_observations; over several, rewards are summed and discounted


class TensorData:
    """Transitions as torch tensors that share the arrays' memory; `draw` picks rows with replacement."""

    def __init__(self, transitions: Transitions, reward_scale: float = 1.0) -> None:
        self.all = Batch(
            torch.from_numpy(transitions.observations),
            torch.from_numpy(transitions.actions),
            torch.from_numpy(transitions.rewards) * reward_scale,
            torch.from_numpy(transitions.next_observations),
            torch.from_numpy(transitions.terminated).float(),
            torch.ones(len(transitions)),
        )

    def __len__(self) -> int:
        return len(self.all.actions)

    def rows(self, picks: Tensor) -> Batch:
        """The transitions of the given rows; picks of any shape (...) give (..., O) and so on."""
        data = self.all
        return Batch(
            data.observations[picks], data.actions[picks], data.rewards[picks], data.next_observations[picks],
            data.terminated[picks], data.steps[picks],
        )  # fmt: skip

    def draw(self, size: int, generator: torch.Generator) -> Batch:
        """`size` random transitions."""
        return self.rows(torch.randint(len(self), (size,), generator=generator))

    def draw_observations(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Random observations (*shape, O)."""
        return self.all.observations[torch.randint(len(self), shape, generator=generator)]


class NStepData(TensorData):
    """The same steps, each with the return of the `n` steps from it on, or of fewer where its episode ends or a step is missing.

    The actions between are the recorded ones: the estimate is that of the policy that recorded, and knows sooner what an action led to.
    """

    def __init__(self, transitions: Transitions, n: int, gamma: float, reward_scale: float = 1.0) -> None:
        super().__init__(transitions, reward_scale)
        returns, last = n_step_returns(transitions, n, gamma)
        self._returns = torch.from_numpy(returns) * reward_scale
        self._last = torch.from_numpy(last)

    def rows(self, picks: Tensor) -> Batch:
        """The stretches that begin at the given rows."""
        data, last = self.all, self._last[picks]
        steps = (last - picks + 1).float()
        return Batch(
            data.observations[picks], data.actions[picks], self._returns[picks], data.next_observations[last], data.terminated[last], steps
        )


def n_step_returns(transitions: Transitions, n: int, gamma: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sum_{i<k} gamma^i r_{t+i} (N,), and the row of the last step counted (N,), k <= n steps that follow one another."""
    count = len(transitions)
    returns = transitions.rewards.astype(np.float64)
    last = np.arange(count)
    running = np.ones(count, dtype=np.bool_)
    for k in range(1, n):
        running &= transitions.followed[last]
        last = np.where(running, last + 1, last)
        returns += np.where(running, gamma**k * transitions.rewards[last], 0.0)
    return returns.astype(np.float32), last
