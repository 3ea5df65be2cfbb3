"""PPO in a task's environment: from nothing, or from a policy and a value that were learnt offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.checks import POSITIVE, at_least, require
from d4rl_bench.environments import make_environments
from d4rl_bench.scaling import RunningStatistics, Scaler
from d4rl_bench.task import Task
from learners.advantages import generalised_advantages
from learners.policy import GaussianPolicy, gaussian_log_prob
from learners.ppo import FEW_STEPS, Ppo, PpoBatch, PpoConfig
from learners.value import Value

RECIPE = 2
"""Raised with any change, here or in what calls this, after which equal settings and seeds give another curve."""


@dataclass(frozen=True)
class OnlineConfig:
    """Fine-tuning, at rates for a quarter of the paper's steps (docs/d4rl.md); PAPER for Table 5, SCRATCH for PPO from nothing."""

    steps: int = 250_000
    """environment steps in all"""
    environments: int = 8
    """copies that are stepped in turn"""
    steps_per_update: int = 2048
    """environment steps between two updates"""
    evaluate_every: int = 10_000
    """environment steps between two points of the learning curve"""
    exploration_std: float | None = 0.3
    """most that the actions' standard deviation is at the start, as on the robot; none is as the offline phase left it: what recorded the
    data may have explored so much that learning from it trades the mean action away"""
    ppo: PpoConfig = FEW_STEPS
    """the learner, as on the robot"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "environments", "steps_per_update", "evaluate_every")
        require(self, POSITIVE, "exploration_std")


PAPER = OnlineConfig(
    steps=1_000_000, exploration_std=None, ppo=PpoConfig(clip_ratio=0.1, epochs=10, minibatches=16, policy_lr=3e-5, value_lr=3e-5)
)  # fmt: skip
"""Clip ratio, rates, gamma and lambda: Table 5; steps: section A.5.2."""

SCRATCH = OnlineConfig(
    exploration_std=None,
    ppo=PpoConfig(clip_ratio=0.2, epochs=10, minibatches=8, policy_lr=3e-4, value_lr=1e-3, max_grad_norm=0.5, desired_kl=0.01),
)
"""PPO's clip, epochs and learning rate for continuous control (Schulman et al. 2017, Table 3), the latter following from the KL."""

SEED_STRIDE = 1000
"""Between the starts of one seed and the next: no two share one."""

SCRATCH_HIDDEN = (64, 64)
"""Hidden layers of policy and value from nothing, ibid., though with ELU between them."""


@dataclass
class Learner:
    """A policy and a value, and how they see the world: scaled observations, scaled rewards."""

    policy: GaussianPolicy
    value: Value
    scaler: Scaler
    reward_scale: float = 1.0
    reward_shift: float = 0.0  # the value is of scale * (reward + shift)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: all of it, its sizes too."""
        return {
            "policy": self.policy.state_dict(), "policy_sizes": list(self.policy.actor.sizes), "activation": self.policy.actor.activation,
            "value": self.value.state_dict(), "value_sizes": list(self.value.network.sizes),
            "mean": torch.from_numpy(self.scaler.mean), "std": torch.from_numpy(self.scaler.std),
            "reward_scale": self.reward_scale, "reward_shift": self.reward_shift,
        }  # fmt: skip

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Learner:
        """From what `state_dict` gave; of anything else it is an error of many kinds."""
        (inputs, *hidden, outputs), (value_inputs, *value_hidden, _) = state["policy_sizes"], state["value_sizes"]
        policy = GaussianPolicy(inputs, outputs, hidden, activation=state["activation"])
        value = Value(value_inputs, tuple(value_hidden))
        policy.load_state_dict(state["policy"])
        value.load_state_dict(state["value"])
        scaler = Scaler(state["mean"].numpy(), state["std"].numpy())
        return cls(policy, value, scaler, float(state["reward_scale"]), float(state["reward_shift"]))


class Scales:
    """Running scales for a learner that starts from nothing: they change between updates, never within one."""

    def __init__(self, observation_size: int, environments: int, gamma: float) -> None:
        self._observations, self._returns = RunningStatistics(observation_size), RunningStatistics(1)
        self._discounted, self._gamma = np.zeros(environments), gamma

    def take_in(self, rollout: Rollout, learner: Learner) -> None:
        """Learn from a rollout, and let `learner` see by what is known now: observations of order 1, discounted returns of std 1."""
        self._observations.add(rollout.observations.reshape(-1, rollout.observations.shape[-1]))
        for rewards, ended in zip(rollout.rewards, rollout.terminated | rollout.truncated, strict=True):
            self._discounted = self._gamma * self._discounted + rewards
            self._returns.add(self._discounted[:, None])
            self._discounted = np.where(ended, 0.0, self._discounted)
        learner.scaler = self._observations.scaler()
        learner.reward_scale = 1.0 / (float(self._returns.std[0]) + 1e-8)

    def begin_episodes(self) -> None:
        """Forget the returns of the episodes that are under way."""
        self._discounted[:] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"observations": self._observations.state_dict(), "returns": self._returns.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._observations.load_state_dict(state["observations"])
        self._returns.load_state_dict(state["returns"])


@dataclass
class Rollout:
    """T steps of N environments, time first, as the environments gave them."""

    observations: NDArray[np.float32]  # (T, N, O) raw
    actions: NDArray[np.float32]  # (T, N, A) as drawn; the environment clips them
    rewards: NDArray[np.float64]  # (T, N) raw
    next_observations: NDArray[np.float32]  # (T, N, O) what followed, also where an episode ended
    terminated: NDArray[np.bool_]  # (T, N)
    truncated: NDArray[np.bool_]  # (T, N)


class OnlineTrainer:
    """Collects and learns. `learner` is what it has made of it; `scales` keeps that of a learner from nothing up to date."""

    def __init__(self, task: Task, learner: Learner, config: OnlineConfig, seed: int, scales: Scales | None = None) -> None:
        self.learner, self.config, self._seed = learner, config, seed
        self.steps, self.updates = 0, 0
        self._scales = scales
        self._ppo = Ppo(learner.policy, learner.value, config.ppo)
        self._generator = torch.Generator().manual_seed(seed)
        self._environments = make_environments(task, config.environments)
        self.begin_episodes()

    def begin_episodes(self) -> None:
        """Begin new episodes, whose starts depend on the seed and the updates so far: a resumed run meets the same ones."""
        self._observations, _ = self._environments.reset(seed=SEED_STRIDE * self._seed + self.updates)
        if self._scales is not None:
            self._scales.begin_episodes()

    def iterate(self) -> tuple[Rollout, dict[str, float]]:
        """One rollout and one update; returns the steps that were made, and named figures. DivergedError if learning blew up."""
        rollout = self.collect(max(1, self.config.steps_per_update // self.config.environments))
        figures = self._ppo.update(self._batch(rollout), self._generator)
        self._ppo.refuse_divergence("PPO", self.steps, figures)
        if self._scales is not None:
            self._scales.take_in(rollout, self.learner)
        self.steps += rollout.rewards.size
        self.updates += 1
        return rollout, figures | {"reward": float(rollout.rewards.mean())}

    def collect(self, length: int) -> Rollout:
        """Let the policy act, with exploration."""
        steps = []
        for _ in range(length):
            seen = np.asarray(self._observations, dtype=np.float32)
            actions = self._explore(seen)
            self._observations, rewards, terminated, truncated, infos = self._environments.step(actions)
            following = _true_successors(self._observations, terminated | truncated, infos)
            steps.append((seen, actions, rewards, following, terminated, truncated))
        return Rollout(*(np.stack(column) for column in zip(*steps, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; episodes that are under way are not in it: whoever makes one begins new ones, resumed or not."""
        learner = self.learner
        return {
            "ppo": self._ppo.state_dict(), "generator": self._generator.get_state(), "steps": self.steps, "updates": self.updates,
            "mean": torch.from_numpy(learner.scaler.mean), "std": torch.from_numpy(learner.scaler.std),
            "reward_scale": learner.reward_scale, "scales": self._scales.state_dict() if self._scales else {},
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; KeyError, RuntimeError or ValueError where it does not fit."""
        self._ppo.load_state_dict(state["ppo"])
        self._generator.set_state(state["generator"])
        self.steps, self.updates = state["steps"], state["updates"]
        self.learner.scaler = Scaler(state["mean"].numpy(), state["std"].numpy())
        self.learner.reward_scale = state["reward_scale"]
        if self._scales is not None:
            self._scales.load_state_dict(state["scales"])
        self.begin_episodes()

    def close(self) -> None:
        """Give the environments back."""
        self._environments.close()

    def _explore(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        seen = torch.from_numpy(self.learner.scaler(observations))
        noise = torch.randn(len(seen), self.learner.policy.log_std.shape[-1], generator=self._generator)
        actions, _, _ = self.learner.policy.sample(seen, noise)
        return actions.numpy()

    @torch.no_grad()
    def _batch(self, rollout: Rollout) -> PpoBatch:
        learner, config = self.learner, self.config.ppo
        observations, following = (self._seen(values) for values in (rollout.observations, rollout.next_observations))
        shape = rollout.rewards.shape
        values, next_values = learner.value(observations).view(shape), learner.value(following).view(shape)
        advantages, returns = generalised_advantages(
            learner.reward_scale * (torch.from_numpy(rollout.rewards).float() + learner.reward_shift), values, next_values,
            torch.from_numpy(rollout.terminated), torch.from_numpy(rollout.truncated), config.gamma, config.gae_lambda,
        )  # fmt: skip
        mean, log_std = learner.policy(observations), learner.policy.log_std.detach().clone()
        actions = torch.from_numpy(rollout.actions).flatten(0, 1)
        log_prob = gaussian_log_prob(actions, mean, log_std)
        return PpoBatch(observations, actions, log_prob, mean, log_std, advantages.flatten(), returns.flatten())

    def _seen(self, observations: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(self.learner.scaler(observations)).flatten(0, 1)


def learner_from_nothing(task: Task, config: OnlineConfig, seed: int) -> tuple[Learner, Scales]:
    """A policy and a value with random weights, and the scales that will follow what they see."""
    torch.manual_seed(seed)
    policy = GaussianPolicy(task.observation_size, task.action_size, SCRATCH_HIDDEN)
    value = Value(task.observation_size, SCRATCH_HIDDEN)
    unscaled = Scaler(np.zeros(task.observation_size, np.float32), np.ones(task.observation_size, np.float32))
    return Learner(policy, value, unscaled), Scales(task.observation_size, config.environments, config.ppo.gamma)


def _true_successors(observations: NDArray[np.float32], ended: NDArray[np.bool_], infos: dict[str, Any]) -> NDArray[np.float32]:
    """What followed each step (N, O): where an episode ended, its last observation and not the next one's first."""
    following = np.array(observations, dtype=np.float32)
    for index in np.flatnonzero(ended):
        following[index] = infos["final_obs"][index]
    return following
