"""PPO in simulation: from nothing to a walking policy."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from learners.advantages import generalised_advantages
from learners.policy import GaussianPolicy, gaussian_log_prob
from learners.ppo import Ppo, PpoBatch, PpoConfig
from learners.value import Value
from robot import go1
from robot.observation import GO1_LAYOUT
from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from twin.terrain import FLAT, Terrain


@dataclass(frozen=True)
class PretrainConfig:
    """Simulator pretraining. Defaults are the paper's: 7 million steps on flat ground, no randomisation."""

    steps: int = 7_000_000
    """control steps in all, over all robots"""
    rollout: int = 24
    """control steps of each robot between two updates"""
    hidden: tuple[int, ...] = (512, 256, 128)
    """hidden layers of the actor"""
    value_hidden: tuple[int, ...] = (256, 256, 256)
    """hidden layers of the value"""
    initial_std: float = 1.0
    """exploration at the start"""
    ppo: PpoConfig = field(
        default_factory=lambda: PpoConfig(
            clip_ratio=0.2, epochs=4, minibatches=4, policy_lr=1e-3, value_lr=1e-3, entropy_weight=0.005, desired_kl=0.01, bf16=True
        )
    )
    """the learner"""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    """the task"""


@dataclass
class _Rollout:
    """T steps of N robots; time first."""

    observations: Tensor
    actions: Tensor
    means: Tensor
    log_prob: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    values: Tensor
    next_values: Tensor


class Pretrainer:
    """Environment and learner; `iterate` collects one rollout and learns from it."""

    def __init__(self, config: PretrainConfig, seed: int, terrain: Terrain = FLAT) -> None:
        torch.manual_seed(seed)
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.environment = WalkingEnvironment(terrain, config.environment, seed)
        self.policy = GaussianPolicy(GO1_LAYOUT.size, go1.NUM_JOINTS, config.hidden, initial_std=config.initial_std)
        self.value = Value(GO1_LAYOUT.size, config.value_hidden)
        self.ppo = Ppo(self.policy, self.value, config.ppo)
        self.steps = 0

    def iterate(self) -> dict[str, float]:
        """One rollout and one update; returns named figures of both."""
        rollout, terms = self._collect()
        advantages, returns = generalised_advantages(
            rollout.rewards, rollout.values, rollout.next_values, rollout.terminated, rollout.truncated,
            self.config.ppo.gamma, self.config.ppo.gae_lambda,
        )  # fmt: skip
        flat = [part.flatten(0, 1) for part in (rollout.observations, rollout.actions, rollout.log_prob, rollout.means, advantages, returns)]
        observations, actions, log_prob, means, flat_advantages, flat_returns = flat
        batch = PpoBatch(observations, actions, log_prob, means, self.policy.log_std.detach().clone(), flat_advantages, flat_returns)
        figures = self.ppo.update(batch, self.generator)
        self.environment.widen_commands(terms["track_lin_vel"])
        self.steps += rollout.rewards.numel()
        return terms | figures | {
            "reward": float(rollout.rewards.mean()) / go1.CONTROL_DT,
            "range_share": self.environment.range_share,
            "falls": float(rollout.terminated.sum()) / rollout.terminated.numel(),
            "std": float(torch.exp(self.policy.log_std.detach()).mean()),
            "learning_rate": float(self.ppo.policy_optimizer.param_groups[0]["lr"]),
        }

    def close(self) -> None:
        """Stop the engine's threads."""
        self.environment.close()

    @torch.no_grad()
    def _collect(self) -> tuple[_Rollout, dict[str, float]]:
        steps, count = self.config.rollout, self.environment.count
        rollout = _empty_rollout(steps, count)
        final_values = torch.zeros(steps, count)
        terms: dict[str, float] = {}
        for t in range(steps):
            self._act(rollout, t)
            result = self.environment.step(rollout.actions[t].numpy())
            rollout.rewards[t] = torch.from_numpy(result.rewards)
            rollout.terminated[t] = torch.from_numpy(result.terminated)
            rollout.truncated[t] = torch.from_numpy(result.truncated)
            if result.truncated.any():
                final_values[t, rollout.truncated[t]] = self._values(torch.from_numpy(result.next_observations[result.truncated]))
            terms = {name: terms.get(name, 0.0) + value / steps for name, value in result.terms.items()}
        following = torch.cat([rollout.values[1:], self._values(torch.from_numpy(self.environment.observations))[None]])
        rollout.next_values = torch.where(rollout.truncated, final_values, following)
        return rollout, terms

    def _act(self, rollout: _Rollout, t: int) -> None:
        observations = torch.from_numpy(self.environment.observations)
        rollout.observations[t] = observations
        noise = torch.randn(len(observations), go1.NUM_JOINTS, generator=self.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.ppo.bf16):
            mean = self.policy(observations)
        rollout.means[t] = mean.float()
        rollout.actions[t] = rollout.means[t] + torch.exp(self.policy.log_std) * noise
        rollout.log_prob[t] = gaussian_log_prob(rollout.actions[t], rollout.means[t], self.policy.log_std)
        rollout.values[t] = self._values(observations)

    def _values(self, observations: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.ppo.bf16):
            return self.value(observations).float()


def _empty_rollout(steps: int, count: int) -> _Rollout:
    return _Rollout(
        observations=torch.zeros(steps, count, GO1_LAYOUT.size),
        actions=torch.zeros(steps, count, go1.NUM_JOINTS),
        means=torch.zeros(steps, count, go1.NUM_JOINTS),
        log_prob=torch.zeros(steps, count),
        rewards=torch.zeros(steps, count),
        terminated=torch.zeros(steps, count, dtype=torch.bool),
        truncated=torch.zeros(steps, count, dtype=torch.bool),
        values=torch.zeros(steps, count),
        next_values=torch.zeros(steps, count),
    )
