"""What learners are rewarded with: D4RL's reward, or a multiple of it, or less one, by the task's family."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from d4rl_bench.d4rl_file import DataError, returns_of_episodes
from d4rl_bench.task import Task
from learners.transitions import Transitions


@dataclass(frozen=True)
class LearningRewards:
    """scale * (reward + shift)."""

    scale: float = 1.0
    shift: float = 0.0

    def applied_to(self, transitions: Transitions) -> Transitions:
        """The same steps, with the rewards that are learnt from."""
        return replace(transitions, rewards=np.float32(self.scale) * (transitions.rewards + np.float32(self.shift)))


def learning_rewards(task: Task, transitions: Transitions) -> LearningRewards:
    """By `task.learning_reward`, from raw transitions; DataError where the range of returns is asked for and there is none."""
    if task.learning_reward == "minus one":
        return LearningRewards(shift=-1.0)
    if task.learning_reward == "as it is":
        return LearningRewards()
    returns = returns_of_episodes(transitions)
    span = float(returns.max() - returns.min())
    if not span > 0:
        raise DataError(f"every episode of these data returns {returns.max():g}; {task.name} needs better and worse ones to learn from")
    return LearningRewards(scale=1000.0 / span)
