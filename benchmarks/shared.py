"""What several benchmarks need: a word of progress, and a policy that is not in a file."""

from __future__ import annotations

import sys

import numpy as np
import torch
from numpy.typing import NDArray

from learners.policy import GaussianPolicy


def say(part: str, done: int, total: int, _figures: dict[str, float]) -> None:
    """Progress, on standard error: standard output is for the result."""
    if done % 1000 == 0 or done == total:
        print(f"{part} {done:,}/{total:,}", file=sys.stderr, flush=True)


class MeanAction:
    """A policy as the twin's evaluation wants one."""

    def __init__(self, policy: GaussianPolicy) -> None:
        self._policy = policy

    @torch.no_grad()
    def act(self, observation_history: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean (N, 12) and standard deviation (12,)."""
        return self._policy(torch.from_numpy(observation_history)).numpy(), torch.exp(self._policy.log_std).numpy()
