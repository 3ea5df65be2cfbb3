"""The one Gaussian policy of every stage: pi(a|s) = N(mean(s), diag(std^2)), std = exp(log_std), state-independent."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from learners.networks import MLP
from learners.precision import Precision

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def gaussian_log_prob(actions: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(actions; mean, diag(exp(log_std)^2)) summed over the last axis: (..., A) -> (...)."""
    return (-0.5 * ((actions - mean) * torch.exp(-log_std)) ** 2 - log_std - _LOG_SQRT_2PI).sum(-1)


def clipped_log_prob(actions: Tensor, mean: Tensor, log_std: Tensor, limit: float) -> Tensor:
    """log of the likelihood that a Gaussian action, clipped to +-`limit`, is `actions`, summed over the last axis: (..., A) -> (...).

    At the limit it is log P(x >= limit), not a density: all that is known there is that the action was at least that large. Gradients
    are right up to some hundred standard deviations from the limit, which is where torch's log_ndtr ends.
    """
    std = torch.exp(log_std)
    within = -0.5 * ((actions - mean) / std) ** 2 - log_std - _LOG_SQRT_2PI
    above = torch.special.log_ndtr((mean - limit) / std)
    below = torch.special.log_ndtr((-limit - mean) / std)
    return torch.where(actions >= limit, above, torch.where(actions <= -limit, below, within)).sum(-1)


def gaussian_kl(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """KL(N(mean, std) || N(other_mean, other_std)) summed over the last axis: (..., A) -> (...)."""
    variance_ratio = torch.exp(2 * (log_std - other_log_std))
    shift = ((mean - other_mean) * torch.exp(-other_log_std)) ** 2
    return (0.5 * (variance_ratio + shift - 1) - (log_std - other_log_std)).sum(-1)


class GaussianPolicy(nn.Module):
    """An actor network and a log standard deviation, single (members=()) or an ensemble (members=(M,)).

    Shapes follow MLP: observations (B, O) or (M, B, O); means (*members, B, A); log_std (A,) or (M, 1, A).
    """

    __call__: Callable[..., Tensor]  # torch leaves it Any

    def __init__(
        self, observation_size: int, action_size: int, hidden: Sequence[int] = (512, 256, 128), members: tuple[int, ...] = (),
        activation: str = "elu", initial_std: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.actor = MLP((observation_size, *hidden, action_size), members, activation, output_gain=0.1)
        shape = (*members, 1, action_size) if members else (action_size,)
        self.log_std = nn.Parameter(torch.full(shape, math.log(initial_std)))

    @property
    def members(self) -> tuple[int, ...]:
        """() for a single policy, (M,) for an ensemble."""
        return self.actor.members

    def forward(self, observations: Tensor) -> Tensor:
        """Mean actions (*members, B, A)."""
        return self.actor(observations)

    def entropy(self) -> Tensor:
        """Entropy of the Gaussian, a scalar (mean over members), nats."""
        return (self.log_std + 0.5 + _LOG_SQRT_2PI).sum(-1).mean()

    @torch.no_grad()
    def narrow(self, largest_std: float | None) -> None:
        """Make every standard deviation at most `largest_std`; none leaves them as they are."""
        if largest_std is not None:
            self.log_std.clamp_(max=math.log(largest_std))

    def ready(self, precision: Precision) -> GaussianPolicy:
        """A copy without gradients whose actor is `MLP.ready`; log_std stays float32."""
        copied = copy.deepcopy(self).requires_grad_(False)
        copied.actor = self.actor.ready(precision)
        return copied

    @torch.no_grad()
    def sample(self, observations: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(actions, log_prob, mean) with actions = mean + std * noise, noise standard normal, broadcast to (*members, B, A)."""
        mean = self(observations)
        actions = mean + torch.exp(self.log_std) * noise
        return actions, gaussian_log_prob(actions, mean, self.log_std), mean


def distance(policies: GaussianPolicy, others: GaussianPolicy, observations: Tensor) -> Tensor:
    """KL(pi || other), nats for each dimension of the action, averaged over states (B, O): (*members,), or () of single policies."""
    kl = gaussian_kl(policies(observations), policies.log_std, others(observations), others.log_std)
    return kl.mean(-1) / policies.log_std.shape[-1]


def stack(policies: Sequence[GaussianPolicy]) -> GaussianPolicy:
    """An ensemble (M,) with copies of the weights of M single policies of the same shape."""
    first = policies[0]
    sizes = first.actor.sizes
    ensemble = GaussianPolicy(sizes[0], sizes[-1], sizes[1:-1], (len(policies),), first.actor.activation)
    with torch.no_grad():
        for target, *sources in zip(ensemble.parameters(), *(policy.parameters() for policy in policies), strict=True):
            target.copy_(torch.stack(list(sources)).reshape(target.shape))
    return ensemble


def member(ensemble: GaussianPolicy, index: int) -> GaussianPolicy:
    """A single policy with a copy of the weights of one member."""
    sizes = ensemble.actor.sizes
    single = GaussianPolicy(sizes[0], sizes[-1], sizes[1:-1], (), ensemble.actor.activation)
    with torch.no_grad():
        for target, source in zip(single.parameters(), ensemble.parameters(), strict=True):
            target.copy_(source[index].reshape(target.shape))
    return single


def average(ensemble: GaussianPolicy, chosen: Sequence[int]) -> GaussianPolicy:
    """A single policy whose weights are the mean of those of the chosen members.

    Of members that began as one policy and have not gone far it acts about as their mean action (Wortsman et al. 2022, "Model soups");
    of others it is nothing.
    """
    single = member(ensemble, chosen[0])
    with torch.no_grad():
        for target, source in zip(single.parameters(), ensemble.parameters(), strict=True):
            target.copy_(source[list(chosen)].mean(0).reshape(target.shape))
    return single


def weights_hash(policy: GaussianPolicy) -> str:
    """Hex sha256 of a policy: its shape, its activation, its weights."""
    digest = hashlib.sha256(f"{policy.actor.sizes} {policy.actor.activation} {policy.members}".encode())
    for parameter in policy.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()
