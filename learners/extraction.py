"""The policy that IQL makes of its critics (Kostrikov et al. 2021, eq. 7), and plain behavior cloning: what Uni-O4 is compared with."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.checks import NOT_NEGATIVE, POSITIVE, at_least, require
from learners.policy import GaussianPolicy, clipped_log_prob, weights_hash
from learners.progress import Progress
from learners.training import Stateful, descend, part_path, train
from learners.uni_o4 import UniO4

MOST_WEIGHT = 100.0
"""Of one step of the data, as IQL's own code has it."""


@dataclass(frozen=True)
class ExtractionConfig:
    """Advantage-weighted regression. Defaults suit two cores and minutes; IQL's own paper takes 1,000,000 steps."""

    steps: int = 5_000
    """gradient steps"""
    batch_size: int = 256
    """steps of the data for each gradient step"""
    learning_rate: float = 3e-4
    """Adam's, falling to 0 as a cosine"""
    temperature: float = 3.0
    """beta, inverse, for advantages in units of their standard deviation over the data; 0 is behavior cloning"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size")
        require(self, POSITIVE, "learning_rate")
        require(self, NOT_NEGATIVE, "temperature")


CLONING = ExtractionConfig(temperature=0.0)


def advantage_weights(advantages: Tensor, temperature: float) -> Tensor:
    """min(exp(beta A), MOST_WEIGHT), (B,): all 1 where beta is 0."""
    return torch.exp(temperature * advantages).clamp(max=MOST_WEIGHT)


def extraction_loss(log_prob: Tensor, weights: Tensor) -> Tensor:
    """-E[w log pi(a|s)] over the batch, eq. 7 of IQL."""
    return -(weights * log_prob).mean()


def extract(learner: UniO4, config: ExtractionConfig, progress: Progress, folder: Path | None = None) -> GaussianPolicy:
    """A policy fitted to the data's actions, the better ones by `learner`'s critics more; it starts as the policy that Uni-O4 starts as.

    `learner` has its critics (`UniO4.fit_critics`), unless the temperature is 0. `folder` keeps it: what an earlier run left there is
    gone on with.
    """
    learner.begin("extraction")
    policy, data = copy.deepcopy(learner.start), learner.data
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate, fused=True)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    scale = _scale(learner) if config.temperature else 1.0
    decisive: dict[str, Any] = {
        "data": learner.transitions.sha256, "start": weights_hash(policy), "extraction": config, "seed": learner.seed,
        "action_limit": learner.config.action_limit,
    }  # fmt: skip
    if config.temperature:
        decisive |= {"iql": learner.config.iql, "reward_scale": learner.config.reward_scale}

    def step() -> dict[str, Tensor]:
        batch = data.draw(config.batch_size, learner.generator)
        weights = torch.ones(())
        if config.temperature:
            advantages = learner.critics.advantages(batch.observations, batch.actions) / scale
            weights = advantage_weights(advantages, config.temperature)
        log_prob = clipped_log_prob(batch.actions, policy(batch.observations), policy.log_std, learner.config.action_limit)
        loss = extraction_loss(log_prob, weights)
        descend(optimizer, loss)
        falling.step()
        return {"log_prob": log_prob.detach().mean()}

    learnt: dict[str, Stateful] = {"policy": policy, "optimizer": optimizer, "falling": falling}
    train("extraction", part_path(folder, "extraction", decisive), config.steps, step, learnt, learner.generator, progress)
    return policy


def _scale(learner: UniO4) -> float:
    """Standard deviation of the advantages of the data's own actions: a temperature means the same whatever rewards are measured in."""
    batch = learner.data.draw(10_000, learner.generator)
    return float(learner.critics.advantages(batch.observations, batch.actions).std()) + 1e-8
