"""Implicit Q-learning's critics (Kostrikov et al. 2021; Uni-O4 eqs. 2 and 3): Q and V of the best actions inside the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.checks import OPEN_SHARE, POSITIVE, SHARE, at_least, require
from learners.batches import Batch
from learners.networks import MLP
from learners.precision import Precision, autocast
from learners.training import Stateful, descend
from learners.value import Value, level_of_values


@dataclass(frozen=True)
class IqlConfig:
    """Critics' sizes and training. Defaults suit two cores and minutes; see PAPER."""

    steps: int = 5_000
    """gradient steps"""
    batch_size: int = 256
    """transitions a step"""
    critics: int = 2
    """Q networks, of which the smallest counts: the more, the less an action is believed in that no data speak of"""
    q_hidden: tuple[int, ...] = (256, 256)
    """hidden layers of each of them"""
    v_hidden: tuple[int, ...] = (256, 256)
    """hidden layers of V"""
    layer_norm: bool = True
    """LayerNorm in Q, which bounds how far it can extrapolate beyond the data's actions"""
    learning_rate: float = 3e-4
    """Adam's, for Q and V"""
    expectile: float = 0.7
    """tau of eq. 2"""
    gamma: float = 0.99
    """discount a control step"""
    n_step: int = 16
    """recorded steps whose rewards are summed before V is asked; 1 is eq. 3 to the letter"""
    polyak: float = 0.005
    """share of Q that the target network takes over a step"""
    precision: Precision = "auto"
    """of matrix products: fp32, bf16, or auto for bf16 where the processor has it in hardware"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size", "critics", "q_hidden", "v_hidden", "n_step")
        require(self, POSITIVE, "learning_rate", "polyak")  # a target that stays as it began is none
        require(self, OPEN_SHARE, "expectile")
        require(self, SHARE, "gamma", "polyak")


PAPER = IqlConfig(
    steps=500_000, batch_size=512, q_hidden=(1024, 1024), v_hidden=(256, 256, 256), layer_norm=False, learning_rate=1e-4, n_step=1
)
"""Networks and gamma are Table 5's, learning rate and expectile section A.5.2's; the steps, for the robot, and the batch are the released
code's."""


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Eq. 2: E[|tau - 1(u < 0)| u^2], u = Q(s, a) - V(s), over all elements."""
    weight = torch.where(difference < 0, 1 - expectile, expectile)
    return (weight * difference.square()).mean()


def td_target(rewards: Tensor, next_values: Tensor, terminated: Tensor, discount: Tensor | float) -> Tensor:
    """r + discount (1 - terminated) V(s'), (B,); the discount is gamma^k where r sums k steps."""
    return rewards + discount * (1 - terminated) * next_values


def q_loss(q_values: Tensor, target: Tensor) -> Tensor:
    """Eq. 3: mean squared error of every Q network (M, B) to the target (B,), summed over networks."""
    return (q_values - target).square().mean(-1).sum()


class QFunction(nn.Module):
    """`count` action values on normalised observations: (..., B, O), (..., B, A) -> (count, ..., B)."""

    def __init__(self, value: Value, action_size: int, hidden: tuple[int, ...], layer_norm: bool, count: int) -> None:
        super().__init__()
        self.normaliser, self.count = value.normaliser, count
        self.network = MLP((len(value.normaliser.mean) + action_size, *hidden, 1), (count,), "relu", layer_norm)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values of all networks."""
        inputs = torch.cat([self.normaliser(observations), actions], -1)
        flat = inputs.reshape(-1, inputs.shape[-1])
        return self.network(flat).reshape(self.count, *inputs.shape[:-1])

    def minimum(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The smallest of all, (..., B)."""
        values: Tensor = self(observations, actions)
        return values.amin(0)


class IqlCritics:
    """Q, its target, V and their optimiser. `data` are single steps, for the scale of observations and the level of values."""

    def __init__(self, data: Batch, config: IqlConfig) -> None:
        self.config = config
        action_size = data.actions.shape[-1]
        self.v = Value(data.observations.shape[-1], config.v_hidden)
        self.v.normaliser.fit(data.observations)
        self.q, self.q_target = (QFunction(self.v, action_size, config.q_hidden, config.layer_norm, config.critics) for _ in range(2))
        with torch.no_grad():
            for network in (self.q.network, self.v.network):
                network.biases[-1].fill_(level_of_values(data, config.gamma))
        self.q_target.load_state_dict(self.q.state_dict())
        parameters = [*self.q.network.parameters(), *self.v.network.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)

    @property
    def learnt(self) -> dict[str, Stateful]:
        """What a training keeps."""
        return {"v": self.v, "q": self.q, "q_target": self.q_target, "optimizer": self.optimizer}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step on eqs. 2 and 3, then the target follows; returns detached losses and the mean V."""
        with autocast(self.config.precision):
            with torch.no_grad():
                target_q = self.q_target.minimum(batch.observations, batch.actions).float()
                next_values = self.v(batch.next_observations).float()
            values = self.v(batch.observations).float()
            q_values = self.q(batch.observations, batch.actions).float()
        value_loss = expectile_loss(target_q - values, self.config.expectile)
        critic_loss = q_loss(q_values, td_target(batch.rewards, next_values, batch.terminated, self.config.gamma**batch.steps))
        descend(self.optimizer, value_loss + critic_loss)
        self._follow()
        return {"value_loss": value_loss.detach(), "q_loss": critic_loss.detach(), "value": values.detach().mean()}

    @torch.no_grad()
    def minimum(self, observations: Tensor, actions: Tensor) -> Tensor:
        """min Q(s, a), (..., B), for AM-Q."""
        with autocast(self.config.precision):
            return self.q.minimum(observations, actions).float()

    @torch.no_grad()
    def advantages(self, observations: Tensor, actions: Tensor) -> Tensor:
        """A = min Q(s, a) - V(s), (..., B), of actions (..., B, A) in states (B, O) or (..., B, O), for eq. 7."""
        each = observations.expand(*actions.shape[:-1], observations.shape[-1])
        with autocast(self.config.precision):
            return self.minimum(each, actions) - self.v(observations).float()

    @torch.no_grad()
    def _follow(self) -> None:
        targets: list[Tensor] = list(self.q_target.network.parameters())
        sources: list[Tensor] = list(self.q.network.parameters())
        torch._foreach_lerp_(targets, sources, self.config.polyak)
