"""AM-Q, the off-policy estimate of Uni-O4 (section 3.2, Definition 1): J(pi) = E[sum_{t<H} Q(s_t, a_t)] in the learned model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from learners.dynamics import DynamicsEnsemble, Elites
from learners.policy import GaussianPolicy
from learners.precision import autocast

ASKED = 20  # times that Q is asked of a rollout at least: it changes little within a twentieth (benchmarks/queries.py)


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


@dataclass(frozen=True)
class Imagined:
    """One step of rollouts of P policies in E elite models, B start states each; before the step unless it says otherwise."""

    states: Tensor  # (E, P, B, O)
    actions: Tensor  # (E, P, B, A) as the robot or the environment clips them
    alive: Tensor  # (E, P, B) probability that the rollout has not terminated
    rewards: Tensor  # (E, P, B) that the model predicts for the step
    following: Tensor  # (E, P, B, O) after the step


@torch.no_grad()
def imagine(
    policies: GaussianPolicy, model: DynamicsEnsemble, starts: Tensor, noise: Noise, action_limit: float = math.inf
) -> Iterator[Imagined]:
    """Roll every member of an ensemble of P policies out from every start state (B, O), one step at a time, for the noise's horizon.

    B is a multiple of the number of elites E; start b is rolled out in elite b // (B / E), the same for every policy. Actions are
    sampled and clipped to +- `action_limit`, where the robot or the environment clips them, and nowhere else.
    """
    (count,), (horizon, elites, rows, _) = policies.members, noise.actions.shape
    states = starts.reshape(elites, 1, rows, -1).expand(elites, count, rows, starts.shape[-1])
    alive, precision = torch.ones(elites, count, rows), model.config.precision
    policies, predicting = policies.ready(precision), model.ready()
    for t in range(horizon):
        with autocast(precision):
            actions = _act(policies, states, noise.actions[t]).clamp(-action_limit, action_limit)
        following, rewards, terminates = _advance(predicting, states, actions, noise.frames[t])
        yield Imagined(states, actions, alive, rewards, following)
        states, alive = following, alive * (1 - terminates)


@torch.no_grad()
def amq(
    policies: GaussianPolicy, critic: Critic, model: DynamicsEnsemble, starts: Tensor, noise: Noise, action_limit: float = math.inf
) -> Tensor:
    """Definition 1 for every member of an ensemble of P policies and every start state: starts (B, O) -> (P, B).

    A rollout (`imagine`) earns Q times the probability that it has not terminated yet. Of a long rollout Q, most of the cost, is asked
    only every k-th step, ASKED times at least, and an answer counts k times; other starts are asked in other steps, so that in a mean over
    starts all steps have their share.
    """
    (horizon, elites, rows, action_size), (count,) = noise.actions.shape, policies.members
    every = max(1, min(horizon // ASKED, rows))
    states, actions = (torch.zeros(elites, count, rows, size) for size in (starts.shape[-1], action_size))
    alive, total = torch.zeros(elites, count, rows), torch.zeros(elites, count, rows)
    for t, step in enumerate(imagine(policies, model, starts, noise, action_limit)):
        turn = slice(t % every * rows // every, (t % every + 1) * rows // every)  # the starts that are asked in this step
        states[:, :, turn], actions[:, :, turn], alive[:, :, turn] = (each[:, :, turn] for each in (step.states, step.actions, step.alive))
        if t % every == every - 1 or t == horizon - 1:
            total += every * alive * critic.minimum(states, actions)
            alive.zero_()  # of the last few steps not every start has a turn
    return per_start(total)


def per_start(values: Tensor) -> Tensor:
    """(E, P, B / E) -> (P, B), in the order of the start states."""
    elites, count, rows = values.shape
    return values.transpose(0, 1).reshape(count, elites * rows)


def _act(policies: GaussianPolicy, states: Tensor, noise: Tensor) -> Tensor:
    """Sampled actions (E, P, B, A) in states (E, P, B, O) with noise (E, B, A) shared by the policies."""
    elites, count, rows, _ = states.shape
    per_policy = states.transpose(0, 1).reshape(count, elites * rows, -1)
    actions, _, _ = policies.sample(per_policy, noise.reshape(elites * rows, -1))
    return actions.reshape(count, elites, rows, -1).transpose(0, 1)


def _advance(model: Elites, states: Tensor, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    elites, count, rows, size = states.shape
    per_elite = noise[:, None].expand(elites, count, rows, noise.shape[-1]).reshape(elites, count * rows, -1)
    flat_states, flat_actions = (values.reshape(elites, count * rows, -1) for values in (states, actions))
    following, rewards, terminates = model.predict(flat_states, flat_actions, per_elite)
    shape = elites, count, rows
    return following.reshape(*shape, size), rewards.reshape(shape), terminates.reshape(shape)
