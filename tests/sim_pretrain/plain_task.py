"""The least that serve.py can step, and ways in which a simulator fails. Runs in the worker's interpreter, which may be Python 3.8.

Only the task "torch" loads it, which takes seconds; for the others a few lines stand in.
"""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import numpy as np


class Numbers:
    """A tensor as far as serve.py knows one."""

    def __init__(self, values):
        self.values = values

    def to(self, device):
        return self

    float = bool = cpu = lambda self: self

    def numpy(self):
        return self.values


class Task:
    """Shows the action that it was given last, and rewards its sum."""

    num_obs, num_privileged_obs, num_actions, device = 290, None, 12, "cpu"

    def __init__(self, num_envs):
        self.num_envs, self.seen = num_envs, np.zeros((num_envs, 290), np.float32)

    def reset(self):
        pass

    def get_observations(self):
        import torch

        return torch.from_numpy(self.seen)

    def get_privileged_observations(self):
        return None

    def step(self, actions):
        import torch

        self.seen[:, :12] = actions.numpy()
        rewards, dones = self.seen.sum(1), np.zeros(self.num_envs, np.bool_)
        return self.get_observations(), None, torch.from_numpy(rewards), torch.from_numpy(dones), {"episode": {"x": 1.0}}


class Crashing(Task):
    """Fails in its third step, as a simulator does that runs out of memory."""

    left = 2

    def step(self, actions):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("out of memory")
        return super().step(actions)


class Hanging(Task):
    """Never answers."""

    def step(self, actions):
        time.sleep(3600)


class Narrow(Task):
    """Shows the policy a single frame instead of its history."""

    num_obs = 58


TASKS = {"torch": Task, "walk": Task, "crash": Crashing, "hang": Hanging, "narrow": Narrow}


def make(options):
    if options["task"] != "torch":
        sys.modules["torch"] = SimpleNamespace(from_numpy=Numbers)
    return TASKS[options["task"]](options["num_envs"])
