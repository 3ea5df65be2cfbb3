"""How far the members of an ensemble are apart: the term that keeps them so in cloning (eq. 6) and in improvement (eq. 25)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learners.policy import gaussian_log_prob


def disagreement(log_std: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
    """Eq. 25's KL(pi_i || f), f = max_j pi_j / Z, of every member (M,): 0 where all are alike, log M where none overlap.

    From means (M, B, A) in the same B states, log_std (M, 1, A) and one action of each member in each state, a_i = mean_i + std_i noise_i:
    E_{a ~ pi_i}[log pi_i(a) - log max_j pi_j(a)] + log Z, with Z = M E_{a ~ mixture}[max_j pi_j(a) / sum_j pi_j(a)].
    Z is not constant and must not be left out: without it members that begin to differ are drawn together again.
    """
    count = len(mean)
    actions = mean + torch.exp(log_std) * noise
    log_probs = gaussian_log_prob(actions[None], mean[:, None], log_std[:, None])  # (density of j, action of i, B)
    best = log_probs.amax(0)
    overlap = best - (torch.logsumexp(log_probs, 0) - math.log(count))
    log_z = torch.logsumexp(overlap, 0) - math.log(count)
    own = log_probs.diagonal().movedim(-1, 0)
    return (own - best + log_z).mean(-1)
