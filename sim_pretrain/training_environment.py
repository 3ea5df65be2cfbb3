"""What PPO needs of a simulator: many robots that step together. MuJoCo and isaacgym stand behind the same few lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, Float32Array


@dataclass(frozen=True)
class StepResult:
    """What one control step of N robots brought."""

    rewards: NDArray[np.floating[Any]]  # (N,)
    terminated: BoolArray  # (N,) fell: nothing is earned after it
    truncated: BoolArray  # (N,) cut off: the future counts, by the value of final_critic_observations
    final_critic_observations: Float32Array  # (n, C), rows of the truncated robots before they were reset, in their order
    terms: Mapping[str, float] = field(default_factory=dict)  # mean of each reward term and other figures, for people


class TrainingEnvironment(Protocol):
    """N robots. `step` resets those whose episode has ended; the observations are then those of their next episode."""

    num_robots: int
    critic_size: int

    @property
    def observations(self) -> Float32Array:
        """(N, 290), what the policy sees; valid until the next step."""

    @property
    def critic_observations(self) -> Float32Array:
        """(N, critic_size), what the critic sees; valid until the next step."""

    def step(self, actions: Float32Array) -> StepResult:
        """Apply actions (N, 12) for one control period."""

    def state_dict(self) -> dict[str, Any]:
        """Arrays, numbers and text that decide how the environment goes on; empty if it cannot be continued exactly."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave; KeyError or ValueError where it does not fit."""

    def close(self) -> None:
        """Stop threads and processes."""
