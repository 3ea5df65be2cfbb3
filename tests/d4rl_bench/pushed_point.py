"""What tests of baselines learn from and act in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from d4rl_bench.baselines import BaselineConfig, OnlineBaselineConfig
from learners.transitions import Transitions

ROWS, EPISODE, OBSERVATION_SIZE, ACTION_SIZE = 2_000, 50, 4, 2
CONFIG = BaselineConfig(steps=200, batch_size=32, hidden=(32, 32), checkpoints=2)
ENDLESS = BaselineConfig(steps=10**9, batch_size=8, hidden=(8,), checkpoints=1)
ONLINE = OnlineBaselineConfig(steps=300, update_every=2, evaluate_every=150)

Call = tuple[str, int, int, dict[str, float]]


def made_data() -> Transitions:
    """Actions are a linear function of observations; every second episode terminates, the others are cut off."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((ROWS, OBSERVATION_SIZE)).astype(np.float32)
    actions = np.clip(observations @ rng.uniform(-0.3, 0.3, (OBSERVATION_SIZE, ACTION_SIZE)), -0.9, 0.9).astype(np.float32)
    ends = np.arange(1, ROWS + 1) % EPISODE == 0
    terminated = np.arange(1, ROWS + 1) % (2 * EPISODE) == 0
    return Transitions(
        observations, actions, observations[:, 0] * actions[:, 0], np.roll(observations, -1, axis=0), terminated, ends & ~terminated,
        np.arange(0, ROWS, EPISODE),
    )  # fmt: skip


@dataclass
class Point:
    """A point that each action pushes: steps and episodes are counted, an episode ends outside of (-1, 1) or after 20 steps."""

    steps: int = 0
    episodes: int = 0
    largest_action: float = 0.0

    def reset(self) -> NDArray[np.float64]:
        self.episodes += 1
        self._age, self._place = 0, np.zeros(OBSERVATION_SIZE)
        return self._place

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool]:
        self.steps += 1
        self._age += 1
        self.largest_action = max(self.largest_action, float(np.abs(action).max()))
        self._place = self._place + 0.3 * np.resize(action, OBSERVATION_SIZE)
        return self._place, -float(np.abs(self._place).max()), bool(np.abs(self._place).max() > 1), self._age == 20


class Broken(Point):
    """A point that cannot be pushed."""

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float64], float, bool, bool]:
        raise ZeroDivisionError


TRAINING_PARENT = """
import sys
from pathlib import Path
from d4rl_bench.baselines import train_baseline
from tests.d4rl_bench.pushed_point import ENDLESS, made_data

train_baseline("bc", made_data(), ENDLESS, 0, Path(sys.argv[1]), lambda part, done, total, figures: print(done, flush=True))
"""
"""A program that trains a baseline in the folder that is its argument and prints each step that it hears of."""
