"""Before hours of training: does the task respond at all? Agents that know nothing walk for a while, and every reward term is watched."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.errors import QuadloopError
from robot import go1
from sim_pretrain.training_environment import TrainingEnvironment

CHECK_STEPS = 150  # control steps, 3 s: long enough to fall over
AGENTS = ("zero", "random")
RANDOM_STD = 1.0  # of each action


class SanityError(QuadloopError):
    """A training task that cannot teach what it should."""


@dataclass(frozen=True)
class Watched:
    """How one figure behaved over the steps of one agent."""

    agent: str
    name: str
    mean: float
    std: float  # over time, of the mean over robots


def watch(environment: TrainingEnvironment, agent: str, seed: int, steps: int = CHECK_STEPS) -> list[Watched]:
    """Let an agent walk: "zero" holds the default posture, "random" draws every action from a Gaussian."""
    rng = np.random.default_rng(seed)
    scale = {"zero": 0.0, "random": RANDOM_STD}[agent]
    series: dict[str, list[float]] = {}
    for _ in range(steps):
        action = scale * rng.standard_normal((environment.num_robots, go1.NUM_JOINTS), dtype=np.float32)
        result = environment.step(action.astype(np.float32))
        figures = {"reward": float(result.rewards.mean()), "falls": float(result.terminated.mean()), **result.terms}
        for name, value in figures.items():
            series.setdefault(name, []).append(value)
    return [Watched(agent, name, float(np.mean(values)), float(np.std(values))) for name, values in series.items()]


def refuse_dead_terms(watched: list[Watched], terms: frozenset[str]) -> None:
    """SanityError if a figure is not finite, or if one of the reward's `terms` is not there or the same in every step of every agent."""
    if absent := sorted(terms - {one.name for one in watched}):
        raise SanityError(f"the term '{absent[0]}' has a weight, but the environment does not tell of it")
    for name in dict.fromkeys(one.name for one in watched):
        seen = [one for one in watched if one.name == name]
        if not all(math.isfinite(one.mean) for one in seen):
            raise SanityError(f"the term '{name}' is not a finite number")
        moves = any(one.std > 0 for one in seen) or len({one.mean for one in seen}) > 1
        if name in terms and not moves:
            raise SanityError(f"the term '{name}' never moves: neither standing still nor acting at random changes it")
