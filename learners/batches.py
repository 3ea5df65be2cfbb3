"""A data set as tensors, and random batches of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learners.transitions import Transitions


@dataclass(frozen=True)
class Batch:
    """B transitions; rewards are scaled, terminated is 0 or 1."""

    observations: Tensor  # (B, O)
    actions: Tensor  # (B, A)
    rewards: Tensor  # (B,)
    next_observations: Tensor  # (B, O)
    terminated: Tensor  # (B,) float


class TensorData:
    """Transitions as torch tensors that share the arrays' memory; `draw` picks rows with replacement."""

    def __init__(self, transitions: Transitions, reward_scale: float = 1.0) -> None:
        self.all = Batch(
            torch.from_numpy(transitions.observations),
            torch.from_numpy(transitions.actions),
            torch.from_numpy(transitions.rewards) * reward_scale,
            torch.from_numpy(transitions.next_observations),
            torch.from_numpy(transitions.terminated).float(),
        )

    def __len__(self) -> int:
        return len(self.all.actions)

    def rows(self, picks: Tensor) -> Batch:
        """The transitions of the given rows; picks of any shape (...) give (..., O) and so on."""
        data = self.all
        return Batch(data.observations[picks], data.actions[picks], data.rewards[picks], data.next_observations[picks], data.terminated[picks])

    def draw(self, size: int, generator: torch.Generator) -> Batch:
        """`size` random transitions."""
        return self.rows(torch.randint(len(self), (size,), generator=generator))

    def draw_observations(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Random observations (*shape, O)."""
        return self.all.observations[torch.randint(len(self), shape, generator=generator)]
