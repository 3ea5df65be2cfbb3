"""The state value, learnt offline by IQL and carried on by PPO online."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from learners.batches import Batch
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


def level_of_values(data: Batch, gamma: float) -> float:
    """The value of a process that earns the data's mean reward at every step and terminates as often: r / (1 - gamma (1 - p)).

    Networks that begin at it have only the differences between states to learn; from 0, a target network that follows by Polyak averaging
    takes tens of thousands of steps to carry the level back from the rewards. 0 where nothing ever ends and nothing is discounted.
    """
    forgotten = 1 - gamma * (1 - float(data.terminated.mean()))
    return float(data.rewards.mean()) / forgotten if forgotten > 0 else 0.0
