"""An ensemble of learned transition models (Uni-O4 eq. 5): next frame, reward and whether the episode terminates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.checks import POSITIVE, at_least, require, require_rising
from learners.batches import Batch
from learners.networks import CONSTANT, MLP, Normaliser
from learners.precision import Precision, autocast
from learners.training import descend


@dataclass(frozen=True)
class DynamicsConfig:
    """The models' sizes and training. Defaults suit two cores and minutes; see PAPER."""

    steps: int = 3_000
    """gradient steps"""
    batch_size: int = 256
    """transitions a step"""
    members: int = 3
    """models trained"""
    elites: int = 2
    """models used: the best on data that was not trained on"""
    hidden: tuple[int, ...] = (256, 256, 256)
    """hidden layers"""
    learning_rate: float = 3e-4
    """Adam's"""
    precision: Precision = "auto"
    """of matrix products: fp32, bf16, or auto for bf16 where the processor has it in hardware"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "batch_size", "members", "elites", "hidden")
        require(self, POSITIVE, "learning_rate")
        require_rising(self, "elites", "members")


PAPER = DynamicsConfig(steps=1_000_000, members=7, elites=5, hidden=(400, 400, 400, 400))
"""The layers are Table 5's, steps and learning rate section A.5.2's; members, elites and batch are the released code's."""

_LOG_STD_RANGE = (-5.0, 1.0)  # of normalised changes: neither certain beyond the data's noise nor wider than the data


def gaussian_negative_log_likelihood(target: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Eq. 5's -log T(s'|s, a) up to a constant: mean over all but the leading axis, (M, B, F) -> (M,)."""
    return (0.5 * ((target - mean) * torch.exp(-log_std)).square() + log_std).flatten(1).mean(1)


class DynamicsEnsemble(nn.Module):
    """M models of (observation, action) -> next frame, reward, termination.

    An observation is `history` frames, oldest first: only the newest frame is predicted and the others move up. history=1 is the
    usual full state.
    """

    def __init__(self, observation_size: int, action_size: int, history: int, config: DynamicsConfig) -> None:
        super().__init__()
        self.config = config
        self.history = history
        self.frame_size = observation_size // history
        self.inputs = Normaliser(observation_size + action_size)
        self.changes = Normaliser(self.frame_size + 1)  # change of the frame, then the reward
        outputs = 2 * (self.frame_size + 1) + 1
        self.network = MLP((observation_size + action_size, *config.hidden, outputs), (config.members,), "silu")
        self.register_buffer("elites", torch.arange(config.elites))
        self.register_buffer("frame_low", torch.full((self.frame_size,), -torch.inf))
        self.register_buffer("frame_high", torch.full((self.frame_size,), torch.inf))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)

    elites: Tensor
    frame_low: Tensor
    frame_high: Tensor

    def fit_normalisers(self, batch: Batch) -> None:
        """Take the data's statistics, and its range: no prediction leaves it, so that long rollouts cannot run away."""
        frames = torch.cat([each[..., -self.frame_size :] for each in (batch.observations, batch.next_observations)])
        self.frame_low.copy_(frames.amin(0))
        self.frame_high.copy_(frames.amax(0))
        self.inputs.fit(torch.cat([batch.observations, batch.actions], -1))
        self.changes.fit(self._targets(batch), CONSTANT)  # what never changes within an episode, as a goal, stays where it is

    def loss(self, batch: Batch) -> Tensor:
        """Negative log-likelihood of each member (M,): Gaussian in frame and reward, Bernoulli in termination."""
        with autocast(self.config.precision):
            mean, log_std, logit = self._heads(torch.cat([batch.observations, batch.actions], -1))
        likelihood = gaussian_negative_log_likelihood(self.changes(self._targets(batch)), mean, log_std)
        terminations = functional.binary_cross_entropy_with_logits(logit, batch.terminated.expand_as(logit), reduction="none").mean(-1)
        return likelihood + terminations

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step of every member on the same batch; returns the mean loss by that name."""
        loss = self.loss(batch)
        descend(self.optimizer, loss.sum())
        return {"loss": loss.detach().mean()}

    @torch.no_grad()
    def choose_elites(self, holdout: Batch) -> Tensor:
        """Keep the members with the smallest loss on `holdout`; returns all losses (M,)."""
        losses = self.loss(holdout)
        self.elites.copy_(losses.argsort()[: len(self.elites)])
        return losses

    def ready(self) -> Elites:
        """The elites as they are now, to predict with."""
        return Elites(self)

    def _heads(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.split(self.network(self.inputs(inputs)))

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the network's outputs (..., 2 (F + 1) + 1): normalised mean and log_std (..., F + 1), and the termination's logit (...)."""
        mean, log_std, logit = outputs.float().split([self.frame_size + 1, self.frame_size + 1, 1], -1)
        low, high = _LOG_STD_RANGE
        return mean, low + (high - low) * torch.sigmoid(log_std), logit.squeeze(-1)

    def _targets(self, batch: Batch) -> Tensor:
        newest = slice(-self.frame_size, None)
        change = batch.next_observations[..., newest] - batch.observations[..., newest]
        return torch.cat([change, batch.rewards[..., None]], -1)


class Elites:
    """The members of an ensemble that predict, with weights that were picked and converted once, for rollouts of many steps."""

    def __init__(self, model: DynamicsEnsemble) -> None:
        self._model = model
        self._network = model.network.ready(model.config.precision, model.elites)

    @torch.no_grad()
    def predict(self, observations: Tensor, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step, each on its own rows: (E, B, O), (E, B, A), noise (E, B, F) standard normal.

        Returns next observations (E, B, O), rewards (E, B) and the probability that the episode terminates (E, B).
        """
        model = self._model
        with autocast(model.config.precision):
            mean, log_std, logit = model.split(self._network(model.inputs(torch.cat([observations, actions], -1))))
        frame_noise = functional.pad(noise, (0, 1))  # the reward's mean is what is wanted
        change = (mean + torch.exp(log_std) * frame_noise) * model.changes.std + model.changes.mean
        frame = (observations[..., -model.frame_size :] + change[..., :-1]).clamp(model.frame_low, model.frame_high)
        return torch.cat([observations[..., model.frame_size :], frame], -1), change[..., -1], torch.sigmoid(logit)
