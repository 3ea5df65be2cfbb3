"""Weighted importance sampling (Precup et al. 2000): what other policies would have earned, from recorded rewards alone.

No learned value and no learned model: short stretches of the data count as much as the policy would have made them. The weights of a
stretch multiply up, so it can only look a few steps ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.checks import at_least, require
from learners.policy import GaussianPolicy, clipped_log_prob
from learners.transitions import Transitions

MOST_BELOW = 300.0
"""Nats that a weight may lie below the largest: e^-300, squared, still fits a float64."""


@dataclass(frozen=True)
class WisConfig:
    """How far ahead it looks."""

    horizon: int = 4
    """recorded steps of a stretch: the weights multiply up, so that over long ones hardly any counts"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "horizon")


@dataclass(frozen=True)
class Stretches:
    """What W stretches of H steps earned: rows that follow one another, and nothing after a fall."""

    rows: NDArray[np.int64]  # (W, H) of the data; after a fall the last row again
    running: NDArray[np.bool_]  # (W, H) whether the step was made


def stretches_of(data: Transitions, horizon: int) -> Stretches:
    """All stretches of the data, one from each row that has as many steps after it, or a fall before them."""
    count = len(data)
    row, runs, whole = np.arange(count), np.ones(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
    rows, running = [], []
    for step in range(horizon):
        rows.append(row)
        running.append(runs)
        if step < horizon - 1:
            whole &= ~runs | data.followed[row] | data.terminated[row]
            runs = runs & data.followed[row]
            row = np.where(runs, row + 1, row)
    return Stretches(np.stack(rows, 1)[whole], np.stack(running, 1)[whole])


@torch.no_grad()
def log_ratios(data: Transitions, policy: GaussianPolicy, behavior: GaussianPolicy, action_limit: float) -> Float64Array:
    """log pi(a|s) - log beta(a|s) of each recorded action (N,)."""
    observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions)
    found = [clipped_log_prob(actions, each(observations), each.log_std, action_limit) for each in (policy, behavior)]
    return np.asarray((found[0] - found[1]).double().numpy())


def weighted_rewards(data: Transitions, stretches: Stretches, ratios: Float64Array) -> tuple[Float64Array, Float64Array]:
    """w_t r_t and w_t of each stretch and step (W, H), w_t = prod_{k <= t} pi / beta over the largest of them, at least e^-MOST_BELOW:
    only their shares count, and products of densities far apart would overflow. After a fall w stays and nothing is earned."""
    logs = np.cumsum(np.where(stretches.running, ratios[stretches.rows], 0.0), axis=1)
    weights = np.exp(np.maximum(logs - logs.max(axis=0), -MOST_BELOW))
    rewards = np.where(stretches.running, data.rewards[stretches.rows], 0.0)
    return weights * rewards, weights


def wis_value(earned: Float64Array, weights: Float64Array, gamma: float) -> Float64Array:
    """Discounted mean reward a step, sum_t gamma^t (sum_i w_it r_it / sum_i w_it) / sum_t gamma^t, from sums (..., H) over stretches."""
    discounts = gamma ** np.arange(earned.shape[-1])
    value: Float64Array = (earned / weights) @ discounts / discounts.sum()
    return value


def effective_share(weights: Float64Array) -> float:
    """Kish's effective number of stretches at the last step, as a share of all: 1 where all weigh the same."""
    last = weights[:, -1]
    return float(last.sum() ** 2 / (len(last) * np.square(last).sum()))
