"""The state value, learnt offline by IQL and carried on by PPO online."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from learners.networks import MLP, Normaliser


class Value(nn.Module):
    """State value V(s): (B, O) -> (B,), on normalised observations."""

    __call__: Callable[..., Tensor]  # torch leaves it Any

    def __init__(self, observation_size: int, hidden: tuple[int, ...] = (256, 256, 256), activation: str = "elu") -> None:
        super().__init__()
        self.normaliser = Normaliser(observation_size)
        self.network = MLP((observation_size, *hidden, 1), (), activation)

    def forward(self, observations: Tensor) -> Tensor:
        """Values (B,)."""
        return self.network(self.normaliser(observations)).squeeze(-1)
