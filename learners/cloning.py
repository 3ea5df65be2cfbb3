"""Ensemble behavior cloning (Uni-O4 eq. 6): M policies of what a data set did, kept apart from each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.checks import NOT_NEGATIVE, POSITIVE, at_least, require
from learners.batches import TensorData
from learners.disagreement import disagreement
from learners.policy import GaussianPolicy, clipped_log_prob
from learners.progress import Progress
from learners.training import Stateful, descend, part_path, train
from learners.transitions import Transitions


@dataclass(frozen=True)
class CloningConfig:
    """How the behavior policies are learnt. Defaults suit two cores and minutes; see PAPER."""

    steps: int = 5_000
    """gradient steps"""
    batch_size: int = 256
    """steps of the data for each gradient step and member"""
    learning_rate: float = 3e-4
    """Adam's"""
    disagreement_weight: float = 0.1
    """alpha of eq. 6"""
    hidden: tuple[int, ...] = (256, 256, 256)
    """hidden layers"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size", "hidden")
        require(self, POSITIVE, "learning_rate")
        require(self, NOT_NEGATIVE, "disagreement_weight")


PAPER = CloningConfig(steps=400_000, batch_size=512, learning_rate=1e-4)
"""The layers are Table 5's, steps and learning rate section A.5.2's; the batch is the released code's."""


def clone_behavior(
    data: Transitions, members: int, action_limit: float, config: CloningConfig, seed: int, progress: Progress, folder: Path | None = None
) -> GaussianPolicy:
    """An ensemble (members,) fitted to the data's actions, which the environment clipped to +- `action_limit`.

    `folder` keeps it: what an earlier run left there is gone on with.
    """
    torch.manual_seed(seed)
    policies = GaussianPolicy(data.observations.shape[1], data.actions.shape[1], config.hidden, (members,), "relu", initial_std=0.5)
    optimizer = torch.optim.Adam(policies.parameters(), lr=config.learning_rate, fused=True)
    generator, tensors = torch.Generator().manual_seed(seed), TensorData(data)
    decisive = {"data": data.sha256, "members": members, "action_limit": action_limit, "cloning": config, "seed": seed}
    path = part_path(folder, "cloning", decisive)
    learnt: dict[str, Stateful] = {"policies": policies, "optimizer": optimizer}

    def step() -> dict[str, Tensor]:
        return cloning_step(policies, optimizer, tensors, action_limit, config, generator)

    train("cloning", path, config.steps, step, learnt, generator, progress)
    return policies


def cloning_step(
    policies: GaussianPolicy,
    optimizer: torch.optim.Optimizer,
    data: TensorData,
    action_limit: float,
    config: CloningConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """One gradient step of every member on the same steps of the data; returns named means."""
    batch = data.draw(config.batch_size, generator)
    noise = torch.randn(*policies.members, *batch.actions.shape, generator=generator)
    loss, figures = cloning_loss(policies, batch.observations, batch.actions, noise, config.disagreement_weight, action_limit)
    descend(optimizer, loss)
    return figures


def cloning_loss(
    policies: GaussianPolicy, observations: Tensor, actions: Tensor, noise: Tensor, disagreement_weight: float, action_limit: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus eq. 6, summed over members: -E[log pi_i(a | s)] - alpha KL(pi_i || f), f = max_j pi_j / Z.

    observations (B, O) and actions (B, A) of the data, the same for all members, who can only be compared in the same states. An action
    at +- `action_limit` was at least that large before it was clipped (`learners.policy.clipped_log_prob`): taken for one like any other
    it would draw the mean inside, and a policy that pushes with all its force would be cloned as one that hesitates. noise (M, B, A)
    standard normal draws each member's own actions for the second term (`learners.disagreement`), which sees means no further than the
    limit: members that differ only beyond it act alike.
    """
    mean = policies(observations)
    log_prob = clipped_log_prob(actions, mean, policies.log_std, action_limit).mean(-1)
    apart = disagreement(policies.log_std, mean.clamp(-action_limit, action_limit), noise)
    loss = -(log_prob + disagreement_weight * apart).sum()
    return loss, {"log_prob": log_prob.detach().mean(), "disagreement": apart.detach().mean()}
