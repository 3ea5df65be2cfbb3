"""A stand-in for a legged_gym task: the vendor's names in front of quadloop's own twins, so that the border can be tested anywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robot import go1
from robot.observation import GO1_LAYOUT
from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from twin.world import FLAT

SHORT_EPISODE_S = 1.8  # s, of the task "short": long enough to fall over


class MujocoTask:
    """legged_gym's interface: float tensors, robots reset before `step` answers, time-outs in extras["time_outs"]."""

    num_obs = GO1_LAYOUT.size
    num_actions = go1.NUM_JOINTS
    device = "cpu"

    def __init__(self, num_envs: int, seed: int, episode_s: float) -> None:
        self.environment = WalkingEnvironment(FLAT, EnvironmentConfig(num_robots=num_envs, episode_s=episode_s), seed)
        self.num_envs = num_envs
        self.num_privileged_obs = self.environment.critic_size
        self.max_episode_length = round(episode_s / go1.CONTROL_DT)

    @property
    def episode_length_buf(self) -> Tensor:
        """Control steps (N,) since each episode's start."""
        return torch.from_numpy(self.environment.steps)

    def reset(self) -> tuple[Tensor, Tensor]:
        """Observations of robots that stand ready; they were reset when they were made."""
        return self.get_observations(), self.get_privileged_observations()

    def get_observations(self) -> Tensor:
        """(N, num_obs)."""
        return torch.from_numpy(self.environment.observations)

    def get_privileged_observations(self) -> Tensor:
        """(N, num_privileged_obs)."""
        return torch.from_numpy(self.environment.critic_observations)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """obs, privileged_obs, rew, dones, extras."""
        result = self.environment.step(actions.numpy())
        dones = torch.from_numpy(result.terminated | result.truncated).long()
        extras = {"time_outs": torch.from_numpy(result.truncated), "episode": {name: torch.tensor(v) for name, v in result.terms.items()}}
        rewards = torch.from_numpy(result.rewards).float()
        return self.get_observations(), self.get_privileged_observations(), rewards, dones, extras


def make(options: dict[str, Any]) -> MujocoTask:
    """The task that serve.py steps."""
    return MujocoTask(options["num_envs"], options["seed"], SHORT_EPISODE_S if options["task"] == "short" else 20.0)
