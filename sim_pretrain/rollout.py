"""What N robots do between two updates, kept in arrays that are allocated once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from learners.advantages import generalised_advantages
from learners.policy import GaussianPolicy, gaussian_log_prob
from learners.ppo import Ppo, PpoBatch
from learners.value import Value
from robot import go1
from robot.observation import GO1_LAYOUT
from sim_pretrain.training_environment import TrainingEnvironment


class Rollout:
    """T control steps of N robots, time first. `collect` fills it, `batch` turns it into what PPO learns from."""

    def __init__(self, steps: int, environment: TrainingEnvironment) -> None:
        self.environment = environment
        count = environment.num_robots
        self.size = steps * count
        self.observations = torch.zeros(steps, count, GO1_LAYOUT.size)
        self.critic_observations = torch.zeros(steps + 1, count, environment.critic_size)  # the last row is what follows
        self.actions = torch.zeros(steps, count, go1.NUM_JOINTS)
        self.means = torch.zeros(steps, count, go1.NUM_JOINTS)
        self.rewards = torch.zeros(steps, count)
        self.terminated = torch.zeros(steps, count, dtype=torch.bool)
        self.truncated = torch.zeros(steps, count, dtype=torch.bool)
        self.finals = torch.zeros(0, environment.critic_size)  # final observations of the truncated, in order of time, then robot
        self.log_std = torch.zeros(go1.NUM_JOINTS)

    @torch.no_grad()
    def collect(
        self, policy: GaussianPolicy, generator: torch.Generator, autocast: Callable[[], AbstractContextManager[object]]
    ) -> dict[str, float]:
        """Let the policy act, with exploration; returns the mean of each of the environment's terms, of reward and falls."""
        environment, finals = self.environment, []
        self.log_std = policy.log_std.detach().clone()
        terms: dict[str, list[float]] = {}
        for t in range(len(self.actions)):
            self.observations[t] = torch.from_numpy(environment.observations)
            self.critic_observations[t] = torch.from_numpy(environment.critic_observations)
            with autocast():
                self.means[t] = policy(self.observations[t])
            noise = torch.randn(self.means[t].shape, generator=generator)
            torch.addcmul(self.means[t], torch.exp(self.log_std), noise, out=self.actions[t])
            result = environment.step(self.actions[t].numpy())
            self.rewards[t] = torch.from_numpy(result.rewards)
            self.terminated[t] = torch.from_numpy(result.terminated)
            self.truncated[t] = torch.from_numpy(result.truncated)
            finals.append(torch.from_numpy(result.final_critic_observations))
            for name, value in result.terms.items():
                terms.setdefault(name, []).append(value)
        self.critic_observations[-1] = torch.from_numpy(environment.critic_observations)
        self.finals = torch.cat(finals)
        means = {name: sum(values) / len(values) for name, values in terms.items()}  # legged_gym tells some only now and then
        return means | {"reward": float(self.rewards.mean()) / go1.CONTROL_DT, "falls": float(self.terminated.float().mean())}

    @torch.no_grad()
    def batch(self, policy: GaussianPolicy, value: Value, ppo: Ppo) -> PpoBatch:
        """The rollout with advantages and returns, its first two axes made one."""
        with ppo.autocast():
            values = value(self.critic_observations.flatten(0, 1)).float().view(self.critic_observations.shape[:2])
            final_values = value(self.finals).float()
        next_values = values[1:].clone()
        next_values[self.truncated] = final_values
        advantages, returns = generalised_advantages(
            self.rewards, values[:-1], next_values, self.terminated, self.truncated, ppo.config.gamma, ppo.config.gae_lambda
        )
        columns: list[Tensor] = [self.observations, self.actions, self.means, advantages, returns, self.critic_observations[:-1]]
        observations, actions, means, advantages, returns, critic_observations = (column.flatten(0, 1) for column in columns)
        log_prob = gaussian_log_prob(actions, means, self.log_std)
        return PpoBatch(observations, actions, log_prob, means, self.log_std, advantages, returns, critic_observations)
