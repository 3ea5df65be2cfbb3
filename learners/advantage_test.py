"""Do the critics' advantages tell good actions from bad ones, in episodes that they have not seen?

An improvement climbs A(s, a) = Q(s, a) - V(s). Where all recorded actions are about equally good, A is error, and climbing it does harm
from the first step on; no estimate that rests on the same critics can tell. Recorded returns can: critics are fitted to half of the
episodes, and in the other half the advantages of what was done are set beside what came of it.
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
from learners.transitions import Transitions

HALF = 0.5
_HIDDEN, _BATCH, _LEARNING_RATE = (256, 256), 512, 1e-3  # of the regression on state and time
_PASSES, _FEWEST, _MOST = 20, 200, 2_000  # over its data, and what that may be in steps
_FEWEST_EPISODES = 10  # to judge by: a mean over fewer, in standard errors, is far from normal
_CHUNK = 20_000  # rows that the critics are asked about at once


@dataclass(frozen=True)
class AdvantageTest:
    """What came of it."""

    correlation: float  # of advantages and undiscounted returns to go, both without what state and time foretell
    z: float  # mean over episodes of their product, in standard errors; not a number with fewer than ten episodes
    episodes: int  # that were judged by


def in_json(test: AdvantageTest | None) -> dict[str, float | None] | None:
    """Its figures; None for what is not a number."""
    if test is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in vars(test).items()}


def returns_to_go(data: Transitions) -> NDArray[np.float64]:
    """(N,) the undiscounted rewards from each row to the end of its episode."""
    total = np.cumsum(data.rewards, dtype=np.float64)
    ends = np.append(data.episode_starts[1:], len(data)) - 1
    to_go: NDArray[np.float64] = total[ends][data.episodes] - total + data.rewards
    return to_go


def compare(critics: IqlCritics, known: Transitions, unseen: Transitions, action_limit: float, generator: torch.Generator) -> AdvantageTest:
    """Critics of `known` judged by `unseen`: partial correlation given state and time (residuals of a regression fitted to `known`).

    Given the state, because a state from which everybody earns much says nothing of an action; undiscounted, because that is what a policy
    is judged by, and critics that foresee 1 / (1 - gamma) steps may prefer what is faster and falls sooner. In data of several policies an
    action may also agree with returns because it marks the better policy. The regression knows the critics' own episodes, whose luck both
    have learnt: on pure luck z is about 1.5 too high (docs/gate.md), so ask for more than two.
    """
    longest = max(int(data.time.max()) for data in (known, unseen)) + 1
    inputs, targets = zip(*(_rows(critics, data, action_limit, longest) for data in (known, unseen)), strict=True)
    mean, std = targets[0].mean(0), targets[0].std(0).clamp(min=1e-6)
    scaled = [(values - mean) / std for values in targets]
    left = (scaled[1] - _regression(inputs[0], scaled[0], generator)(inputs[1])).double().numpy()
    product = left[:, 0] * left[:, 1]
    per_episode = np.bincount(unseen.episodes, weights=product)
    count = len(per_episode)
    error = float(per_episode.std(ddof=1)) / count**0.5 if count >= _FEWEST_EPISODES else math.nan
    spread = float(left[:, 0].std() * left[:, 1].std())
    return AdvantageTest(
        float(product.mean()) / spread if spread > 0 else 0.0, float(per_episode.mean()) / error if error else math.nan, count
    )


def _rows(critics: IqlCritics, data: Transitions, action_limit: float, longest: int) -> tuple[Tensor, Tensor]:
    """State and time (N, O + 1), advantage and return to go (N, 2)."""
    observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions).clamp(-action_limit, action_limit)
    chunks = zip(observations.split(_CHUNK), actions.split(_CHUNK), strict=True)
    advantages = torch.cat([critics.advantages(*chunk) for chunk in chunks])
    time = torch.from_numpy((data.time / longest).astype(np.float32))
    returns = torch.from_numpy(returns_to_go(data).astype(np.float32))
    return torch.cat([critics.v.normaliser(observations), time[:, None]], -1), torch.stack([advantages, returns], -1)


def _regression(inputs: Tensor, targets: Tensor, generator: torch.Generator) -> MLP:
    """Fitted to the squared error."""
    network = MLP((inputs.shape[-1], *_HIDDEN, targets.shape[-1]), (), "relu")
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-4, fused=True)
    for _ in range(min(_MOST, max(_FEWEST, _PASSES * len(inputs) // _BATCH))):
        picks = torch.randint(len(inputs), (_BATCH,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        (network(inputs[picks]) - targets[picks]).square().mean().backward()
        optimizer.step()
    return network.requires_grad_(False)
