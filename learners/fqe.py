"""Fitted-Q evaluation (Paine et al. 2020): the value of given policies from recorded transitions alone, with bootstrap intervals.

Independent of AM-Q: no learned model, no critic of the improvement, and fitted on data that the improvement never saw.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.checks import POSITIVE, SHARE, Rule, at_least, require
from learners.batches import TensorData
from learners.networks import MLP, Normaliser
from learners.policy import GaussianPolicy, weights_hash
from learners.progress import Progress, silent
from learners.training import Stateful, descend, part_path, train
from learners.transitions import Transitions
from learners.value import level_of_values


@dataclass(frozen=True)
class FqeConfig:
    """Sizes and training of the evaluators."""

    steps: int = 3_000
    """gradient steps"""
    batch_size: int = 256
    """transitions a step"""
    members: int = 8
    """bootstrap replicas, each on its own resampling of the sessions"""
    hidden: tuple[int, ...] = (128, 128)
    """hidden layers"""
    learning_rate: float = 1e-3
    """Adam's"""
    gamma: float = 0.97
    """discount a control step: 33 steps ahead, as far as so few gradient steps carry a reward back"""
    polyak: float = 0.02
    """share that the target network takes over a step"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size", "members", "hidden")
        require(self, POSITIVE, "learning_rate", "polyak")
        require(self, SHARE, "polyak")
        require(self, Rule("from 0 to below 1", lambda value: 0 <= value < 1), "gamma")  # the values' level is a mean reward / (1 - gamma)


LONG = FqeConfig(steps=50_000, hidden=(256, 256), learning_rate=3e-4, gamma=0.99, polyak=0.005)
"""As far ahead as the learner itself; for an evaluation that may take hours."""


def fqe_target(rewards: Tensor, next_q: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    """r + gamma (1 - terminated) Q(s', pi(s')): (B,), (..., B), (B,) -> (..., B)."""
    return rewards + gamma * (1 - terminated) * next_q


def bootstrap_weights(groups: Tensor, members: int, generator: torch.Generator) -> Tensor:
    """(members, N) weights of rows: how often each row's group was drawn when groups (N,) are resampled with replacement."""
    names, rows = groups.unique(return_inverse=True)
    picks = torch.randint(len(names), (members, len(names)), generator=generator)
    counts = torch.zeros(members, len(names)).scatter_add_(1, picks, torch.ones(picks.shape))
    return counts[:, rows]


def fitted_q_evaluation(
    data: Transitions, groups: NDArray[np.int64], policies: list[GaussianPolicy], action_limit: float, config: FqeConfig, seed: int,
    progress: Progress = silent, folder: Path | None = None,
) -> Tensor:  # fmt: skip
    """The discounted value of each policy, averaged over the data's states, by each bootstrap replica (P, members); units of the reward.

    Policies act by their means, clipped to +- `action_limit` as the data's were; rows of one group (N,) are resampled together. `folder`
    keeps what is learnt: an interrupted evaluation goes on there.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # the replicas' weights
    tensors = TensorData(data)
    weights = bootstrap_weights(torch.from_numpy(groups), config.members, generator)
    evaluator = _Evaluator(tensors, policies, action_limit, config)
    what = {
        "data": data.sha256, "groups": hashlib.sha256(np.ascontiguousarray(groups).data).hexdigest(),
        "policies": [weights_hash(policy) for policy in policies], "action_limit": action_limit, "fqe": config, "seed": seed,
    }  # fmt: skip
    train(
        "fitted-Q evaluation", part_path(folder, "fqe", what), config.steps,
        lambda: evaluator.update(torch.randint(len(tensors), (config.batch_size,), generator=generator), weights),
        evaluator.learnt, generator, progress,
    )  # fmt: skip
    return evaluator.values(weights)


@torch.no_grad()
def _mean_actions(policies: list[GaussianPolicy], observations: Tensor, action_limit: float) -> Tensor:
    """(P, N, A), as the robot or the environment clips them: of what lies beyond, no data speak."""
    return torch.stack([policy(observations) for policy in policies]).clamp(-action_limit, action_limit)


class _Evaluator:
    def __init__(self, data: TensorData, policies: list[GaussianPolicy], action_limit: float, config: FqeConfig) -> None:
        self.data, self.config = data, config
        self.actions = _mean_actions(policies, data.all.observations, action_limit)
        self.next_actions = _mean_actions(policies, data.all.next_observations, action_limit)
        size, action_size = data.all.observations.shape[-1], data.all.actions.shape[-1]
        self.normaliser = Normaliser(size + action_size)
        self.normaliser.fit(torch.cat([data.all.observations, data.all.actions], -1))
        sizes, members = (size + action_size, *config.hidden, 1), (len(policies), config.members)
        self.q, self.target = (MLP(sizes, members, "relu", layer_norm=True) for _ in range(2))
        with torch.no_grad():  # both policies' replicas start alike, so that their difference is the policies'
            for parameter in self.q.parameters():
                parameter.copy_(parameter[:1].expand_as(parameter))
            self.q.biases[-1].fill_(level_of_values(data.all, config.gamma))
        self.target.load_state_dict(self.q.state_dict())
        self.optimizer = torch.optim.Adam(self.q.parameters(), lr=config.learning_rate, fused=True)

    @property
    def learnt(self) -> dict[str, Stateful]:
        """What a training keeps."""
        return {"q": self.q, "target": self.target, "optimizer": self.optimizer}

    def update(self, picks: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """One weighted regression step of every policy's every replica on the same transitions; returns their mean loss."""
        batch = self.data.rows(picks)
        with torch.no_grad():
            next_q = self._values(self.target, batch.next_observations, self.next_actions[:, picks])
            goal = fqe_target(batch.rewards, next_q, batch.terminated, self.config.gamma)
        inputs = self.normaliser(torch.cat([batch.observations, batch.actions], -1))
        error = self.q(inputs).squeeze(-1) - goal
        losses = (weights[:, picks] * error.square()).mean(-1)
        descend(self.optimizer, losses.sum())
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.q.parameters()), self.config.polyak)
        return {"loss": losses.detach().mean()}

    @torch.no_grad()
    def values(self, weights: Tensor) -> Tensor:
        """(P, members): weighted mean over all states of Q(s, pi(s))."""
        total = torch.zeros(self.q.members)
        for rows in torch.arange(len(self.data)).split(8192):
            q = self._values(self.q, self.data.all.observations[rows], self.actions[:, rows])
            total += (q * weights[:, rows]).sum(-1)
        return total / weights.sum(-1)

    def _values(self, network: MLP, observations: Tensor, actions: Tensor) -> Tensor:
        """(P, members, B) for observations (B, O) and each policy's actions (P, B, A)."""
        inputs = torch.cat([observations.expand(len(actions), *observations.shape), actions], -1)
        return network(self.normaliser(inputs)[:, None]).squeeze(-1)
