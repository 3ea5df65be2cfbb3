"""Do the critics' advantages tell good actions from bad ones, in episodes that they have not seen?

An improvement climbs A(s, a) = Q(s, a) - V(s). Where all recorded actions are about equally good, A is error, and climbing it does harm
from the first step on; no estimate that rests on the same critics can tell. Recorded returns can: critics are fitted to half of the
episodes, and in the other half what was done is set beside what came of it: its advantage over other actions in the same state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learners.iql import IqlCritics
from learners.networks import MLP
from learners.policy import GaussianPolicy
from learners.training import descend
from learners.transitions import Transitions

HALF = 0.5
FEWEST_EPISODES = 10  # to judge by: a mean over fewer, in standard errors, is far from normal
_LEARNING_RATE = 1e-3  # of the regression on state and time
_PASSES, _FEWEST, _MOST = 20, 200, 2_000  # over its data, and what that may be in steps
_OTHERS = 8  # actions of the behavior that a recorded one is set beside, as many of each member
_CHUNK = 5_000  # rows that the critics are asked about at once


@dataclass(frozen=True)
class RegressionConfig:
    """Sizes of the regression on state and time."""

    hidden: tuple[int, ...] = (256, 256)
    batch_size: int = 512  # rows a step


REGRESSION = RegressionConfig()


@dataclass(frozen=True)
class AdvantageTest:
    """What came of it."""

    correlation: float  # of advantages and undiscounted returns to go, both without what state and time foretell
    z: float  # mean over episodes of their product, in standard errors; not a number with fewer than ten episodes
    episodes: int  # that were judged by


def returns_to_go(data: Transitions) -> NDArray[np.float64]:
    """(N,) the undiscounted rewards from each row to the end of its episode."""
    total = np.cumsum(data.rewards, dtype=np.float64)
    ends = np.append(data.episode_starts[1:], len(data)) - 1
    to_go: NDArray[np.float64] = total[ends][data.episodes] - total + data.rewards
    return to_go


def compare(
    critics: IqlCritics,
    behavior: GaussianPolicy,
    unseen: Transitions,
    action_limit: float,
    generator: torch.Generator,
    regression: RegressionConfig = REGRESSION,
) -> AdvantageTest:
    """Critics judged by episodes `unseen` by them: partial correlation of advantages and returns given state and time.

    Given the state, because a state from which everybody earns much says nothing of an action; undiscounted, because that is what a policy
    is judged by, and critics that foresee 1 / (1 - gamma) steps may prefer what is faster and falls sooner. An advantage is set beside
    those of other actions of `behavior`, what recorded the data or its clones, in the same state. What state and time foretell of the
    rest is a regression's word, fitted to the other half of the unseen episodes: one that knew the episode, or those of the critics,
    would have learnt the same luck as what it is taken from. In data of several policies an action may agree with returns because it marks
    the better policy.
    """
    count = len(unseen.episode_starts)
    if count < FEWEST_EPISODES:
        return AdvantageTest(0.0, math.nan, count)
    inputs, targets = _rows(critics, behavior, unseen, action_limit, generator)
    half = torch.randperm(count, generator=generator).numpy()[unseen.episodes] < round(HALF * count)
    left = torch.empty_like(targets)
    for judged in (torch.from_numpy(half), torch.from_numpy(~half)):
        left[judged] = targets[judged] - _fitted(inputs[~judged], targets[~judged], regression, generator)(inputs[judged])
    advantages, returns = left.double().numpy().T
    per_episode = np.bincount(unseen.episodes, weights=advantages * returns)
    error, spread = float(per_episode.std(ddof=1)) / count**0.5, float(advantages.std() * returns.std())
    return AdvantageTest(
        float((advantages * returns).mean()) / spread if spread else 0.0, float(per_episode.mean()) / error if error else math.nan, count
    )


@torch.no_grad()
def _rows(
    critics: IqlCritics, behavior: GaussianPolicy, data: Transitions, action_limit: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """State and time (N, O + 1); advantage over others in the same state, and return to go (N, 2), each of mean 0 and deviation 1."""
    observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions)
    draws = max(1, _OTHERS // math.prod(behavior.members))
    advantages = []
    for states, done in zip(observations.split(_CHUNK), actions.split(_CHUNK), strict=True):
        noise = torch.randn(draws, *behavior.members, *done.shape, generator=generator)
        others = torch.stack([behavior.sample(states, each)[0] for each in noise]).reshape(-1, *done.shape)
        asked = torch.cat([done[None], others]).clamp(-action_limit, action_limit)
        # In full precision whatever the critics were learnt in: their differences within a state are small.
        values = critics.q.minimum(states.expand(len(asked), -1, -1), asked)
        advantages.append(values[0] - values[1:].mean(0))
    time = torch.from_numpy((data.time / (data.time.max() + 1)).astype(np.float32))
    returns = torch.from_numpy(returns_to_go(data).astype(np.float32))
    targets = torch.stack([torch.cat(advantages), returns], -1)
    targets = (targets - targets.mean(0)) / targets.std(0).clamp(min=1e-6)
    return torch.cat([critics.v.normaliser(observations), time[:, None]], -1), targets


def _fitted(inputs: Tensor, targets: Tensor, config: RegressionConfig, generator: torch.Generator) -> MLP:
    """To the squared error."""
    network = MLP((inputs.shape[-1], *config.hidden, targets.shape[-1]), (), "relu")
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4, fused=True)
    for _ in range(min(_MOST, max(_FEWEST, _PASSES * len(inputs) // config.batch_size))):
        picks = torch.randint(len(inputs), (config.batch_size,), generator=generator)
        descend(optimizer, (network(inputs[picks]) - targets[picks]).square().mean())
    return network.requires_grad_(False)
