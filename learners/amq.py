"""AM-Q, the off-policy estimate of Uni-O4 (section 3.2, Definition 1): J(pi) = E[sum_{t<H} Q(s_t, a_t)] in the learned model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learners.dynamics import DynamicsEnsemble
from learners.policy import GaussianPolicy


class Critic(Protocol):
    """Something that values actions."""

    def minimum(self, observations: Tensor, actions: Tensor) -> Tensor:
        """(..., B, O), (..., B, A) -> (..., B)."""


@dataclass(frozen=True)
class Noise:
    """The luck of a set of rollouts. Policies that are compared meet the same luck (common random numbers)."""

    actions: Tensor  # (H, E, B, A) standard normal
    frames: Tensor  # (H, E, B, F) standard normal


def draw_noise(horizon: int, elites: int, starts: int, action_size: int, frame_size: int, generator: torch.Generator) -> Noise:
    """Noise for `starts` rollouts, a whole multiple of `elites`, spread evenly over the elite models."""
    shape = (horizon, elites, starts // elites)
    return Noise(torch.randn(*shape, action_size, generator=generator), torch.randn(*shape, frame_size, generator=generator))


@torch.no_grad()
def amq(
    policies: GaussianPolicy, critic: Critic, model: DynamicsEnsemble, starts: Tensor, noise: Noise, action_limit: float = math.inf
) -> Tensor:
    """Definition 1 for every member of an ensemble of P policies and every start state: starts (B, O) -> (P, B).

    B is a multiple of the number of elites E; start b is rolled out in elite b // (B / E), the same for every policy. A rollout
    earns Q times the probability that it has not terminated yet. Actions are sampled and clipped to +- `action_limit`, where the
    robot or the environment clips them, and nowhere else.
    """
    (count,), (horizon, elites, rows, _) = policies.members, noise.actions.shape
    states = starts.reshape(elites, 1, rows, -1).expand(elites, count, rows, starts.shape[-1])
    alive = torch.ones(elites, count, rows)
    total = torch.zeros(elites, count, rows)
    for t in range(horizon):
        actions = _act(policies, states, noise.actions[t]).clamp(-action_limit, action_limit)
        total += alive * critic.minimum(states, actions)
        states, terminates = _advance(model, states, actions, noise.frames[t])
        alive = alive * (1 - terminates)
    return total.transpose(0, 1).reshape(count, elites * rows)


def _act(policies: GaussianPolicy, states: Tensor, noise: Tensor) -> Tensor:
    """Sampled actions (E, P, B, A) in states (E, P, B, O) with noise (E, B, A) shared by the policies."""
    elites, count, rows, _ = states.shape
    per_policy = states.transpose(0, 1).reshape(count, elites * rows, -1)
    actions, _, _ = policies.sample(per_policy, noise.reshape(elites * rows, -1))
    return actions.reshape(count, elites, rows, -1).transpose(0, 1)


def _advance(model: DynamicsEnsemble, states: Tensor, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    elites, count, rows, size = states.shape
    per_elite = noise[:, None].expand(elites, count, rows, noise.shape[-1]).reshape(elites, count * rows, -1)
    flat_states, flat_actions = (values.reshape(elites, count * rows, -1) for values in (states, actions))
    following, _, terminates = model.predict(flat_states, flat_actions, per_elite)
    return following.reshape(elites, count, rows, size), terminates.reshape(elites, count, rows)
