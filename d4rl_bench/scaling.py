"""Observations and rewards of order one, whatever a task measures in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float32Array
from learners.transitions import Transitions

SMALLEST_STD = 1e-3  # of an observation that hardly moves; TD3+BC and IQL add as much


@dataclass(frozen=True)
class Scaler:
    """(observation - mean) / std, with the statistics of a data set or of what an agent has seen; shapes (O,)."""

    mean: Float32Array
    std: Float32Array

    def __call__(self, observations: NDArray[Any]) -> Float32Array:
        """Scaled observations (..., O)."""
        return np.asarray((observations - self.mean) / self.std, dtype=np.float32)


def scaler_of(observations: NDArray[Any]) -> Scaler:
    """Statistics of observations (N, O)."""
    mean, std = observations.mean(axis=0, dtype=np.float64), observations.std(axis=0, dtype=np.float64)
    return Scaler(mean.astype(np.float32), (std + SMALLEST_STD).astype(np.float32))


def scaled(transitions: Transitions, scaler: Scaler) -> Transitions:
    """The same steps, seen through the scaler."""
    return replace(transitions, observations=scaler(transitions.observations), next_observations=scaler(transitions.next_observations))


class RunningStatistics:
    """Mean and standard deviation of all rows seen so far, by Chan, Golub and LeVeque's update for whole batches."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean, self._squares = np.zeros(size), np.zeros(size)

    def add(self, rows: NDArray[Any]) -> None:
        """Rows (N, size)."""
        count = self.count + len(rows)
        difference = rows.mean(axis=0, dtype=np.float64) - self.mean
        self._squares += rows.var(axis=0, dtype=np.float64) * len(rows) + difference**2 * self.count * len(rows) / count
        self.mean = self.mean + difference * len(rows) / count
        self.count = count

    @property
    def std(self) -> NDArray[np.float64]:
        """Of the population, (size,)."""
        return np.sqrt(self._squares / max(self.count, 1))

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "mean": self.mean.tolist(), "squares": self._squares.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.count, self.mean, self._squares = int(state["count"]), np.array(state["mean"]), np.array(state["squares"])

    def scaler(self) -> Scaler:
        """A scaler that stays as the statistics are now."""
        return Scaler(self.mean.astype(np.float32), (self.std + SMALLEST_STD).astype(np.float32))
