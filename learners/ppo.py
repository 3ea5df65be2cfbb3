"""Proximal policy optimisation: one update of policy and value from a batch of on-policy steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from common.checks import NOT_NEGATIVE, POSITIVE, SHARE, at_least, require
from learners.policy import GaussianPolicy, gaussian_kl, gaussian_log_prob
from learners.precision import Precision, autocast
from learners.surrogate import clipped_surrogate, normalise_advantages
from learners.training import DivergedError
from learners.value import Value


@dataclass(frozen=True)
class PpoConfig:
    """Settings of one PPO update. Clip ratio, gamma, lambda and the policy's rate are by default the paper's online ones (Table 5)."""

    clip_ratio: float = 0.1
    """eps of eq. 1"""
    gamma: float = 0.99
    """discount a control step"""
    gae_lambda: float = 0.95
    """lambda of GAE"""
    epochs: int = 10
    """passes over the batch"""
    minibatches: int = 16
    """parts that each pass is split into"""
    pass_share: float = 1.0
    """share of the batch, drawn anew, that each pass takes"""
    policy_lr: float = 3e-5
    """Adam's learning rate for the policy; the highest one where desired_kl is set"""
    value_lr: float = 2e-4
    """Adam's learning rate for the value"""
    entropy_weight: float = 0.0
    """weight of the policy's entropy in the objective"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm, policy and value apart"""
    desired_kl: float | None = None
    """if set, the policy's learning rate follows from how far updates lead: divided by 1.5 above twice this KL, multiplied below half.
    Nats, summed over the dimensions of the action"""
    max_kl: float | None = None
    """if set, an update ends early once the mean KL from the acting policy exceeds it. Nats, summed over the dimensions of the
    action; the gate's max_kl is for each of them"""
    precision: Precision = "fp32"
    """of matrix products: fp32, bf16, or auto for bf16 where the processor has it in hardware"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "epochs", "minibatches")
        require(self, POSITIVE, "clip_ratio", "max_grad_norm", "desired_kl", "max_kl")
        require(self, NOT_NEGATIVE, "policy_lr", "value_lr", "entropy_weight")  # a rate of 0 leaves its network as it is
        require(self, SHARE, "gamma", "gae_lambda", "pass_share")
        require(self, POSITIVE, "pass_share")


FEW_STEPS = PpoConfig(epochs=20, minibatches=4, policy_lr=3e-4, value_lr=5e-4)
"""For fine-tuning in a tenth or a quarter of the paper's steps: more is made of each."""


@dataclass(frozen=True)
class PpoBatch:
    """B on-policy steps: what the acting policy saw, did and thought, and what came of it."""

    observations: Tensor  # (B, O)
    actions: Tensor  # (B, A)
    log_prob: Tensor  # (B,) under the acting policy
    mean: Tensor  # (B, A) of the acting policy
    log_std: Tensor  # (A,) of the acting policy
    advantages: Tensor  # (B,)
    returns: Tensor  # (B,)
    critic_observations: Tensor | None = None  # (B, C) where the value sees something else than the policy


class Ppo:
    """Policy, value and their optimisers; `update` improves both from one batch."""

    def __init__(self, policy: GaussianPolicy, value: Value, config: PpoConfig) -> None:
        self.policy = policy
        self.value = value
        self.config = config
        self.policy_optimizer = torch.optim.Adam(policy.parameters(), lr=config.policy_lr, fused=True)
        self.value_optimizer = torch.optim.Adam(value.parameters(), lr=config.value_lr, fused=True)

    @property
    def policy_lr(self) -> float:
        """The policy's learning rate now."""
        return float(self.policy_optimizer.param_groups[0]["lr"])

    def autocast(self) -> torch.autocast:
        """Context in which matrix products have the wanted precision."""
        return autocast(self.config.precision)

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimisers, for a checkpoint."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; KeyError, RuntimeError or ValueError where it does not fit."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "policy": self.policy, "value": self.value,
            "policy_optimizer": self.policy_optimizer, "value_optimizer": self.value_optimizer,
        }  # fmt: skip

    def update(self, batch: PpoBatch, generator: torch.Generator) -> dict[str, float]:
        """Several epochs of minibatches over `batch`; returns means of the losses and the last KL from the acting policy."""
        # Over the whole batch: a minibatch without one of the rare falls would blow up what little its own steps differ by.
        batch = replace(batch, advantages=normalise_advantages(batch.advantages))
        seen_by_value = batch.observations if batch.critic_observations is None else batch.critic_observations
        surrogates, value_losses, kl = [], [], 0.0
        for picks in self._minibatches(len(batch.actions), generator):
            surrogate, kl = self._policy_step(batch, picks)
            surrogates.append(surrogate)
            value_losses.append(self._value_step(seen_by_value[picks], batch.returns[picks]))
            if self.config.max_kl is not None and kl > self.config.max_kl:
                break
        if self.config.desired_kl is not None:
            self._adapt_learning_rate(kl, self.config.desired_kl)
        steps = len(surrogates)
        return {"surrogate": sum(surrogates) / steps, "value_loss": sum(value_losses) / steps, "kl": kl, "steps": float(steps)}

    def refuse_divergence(self, part: str, steps: int, figures: Mapping[str, float]) -> None:
        """DivergedError, which names the rate to lower, unless the `figures` of an update after `steps` and all weights are finite."""
        too_high = []
        if not (_finite(self.policy) and all(math.isfinite(value) for name, value in figures.items() if name != "value_loss")):
            too_high.append("ppo.policy_lr")
        if not (_finite(self.value) and math.isfinite(figures["value_loss"])):
            too_high.append("ppo.value_lr")
        if too_high:
            rates = " and ".join(too_high)
            raise DivergedError(f"{part}: learning blew up in the update after step {steps:,}; begin anew with a lower {rates}")

    def _minibatches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        taken = max(1, round(self.config.pass_share * size))
        for _ in range(self.config.epochs):
            yield from torch.randperm(size, generator=generator)[:taken].chunk(self.config.minibatches)

    def _policy_step(self, batch: PpoBatch, picks: Tensor) -> tuple[float, float]:
        with self.autocast():
            mean = self.policy(batch.observations[picks])
        mean = mean.float()
        log_std = self.policy.log_std
        kl = float(gaussian_kl(batch.mean[picks], batch.log_std, mean.detach(), log_std.detach()).mean())
        log_prob = gaussian_log_prob(batch.actions[picks], mean, log_std)
        surrogate = clipped_surrogate(log_prob, batch.log_prob[picks], batch.advantages[picks], self.config.clip_ratio)
        loss = -surrogate - self.config.entropy_weight * self.policy.entropy()
        self._step(self.policy_optimizer, self.policy, loss)
        return float(surrogate.detach()), kl

    def _value_step(self, observations: Tensor, returns: Tensor) -> float:
        with self.autocast():
            values = self.value(observations)
        loss = torch.nn.functional.mse_loss(values.float(), returns)
        self._step(self.value_optimizer, self.value, loss)
        return float(loss.detach())

    def _step(self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), self.config.max_grad_norm)
        optimizer.step()

    def _adapt_learning_rate(self, kl: float, desired: float) -> None:
        """Rudin et al. 2021's rule, once an update and never above the given rate: the KL of small minibatches is mostly their noise."""
        group, limit = self.policy_optimizer.param_groups[0], self.config.policy_lr
        if kl > 2 * desired:
            group["lr"] = max(limit / 100, group["lr"] / 1.5)
        elif kl < desired / 2:
            group["lr"] = min(limit, group["lr"] * 1.5)


def _finite(network: nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in network.parameters())
