"""The one objective of every stage: simulator pretraining, offline improvement and online fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(log_prob: Tensor, behavior_log_prob: Tensor, advantages: Tensor, clip_ratio: float) -> Tensor:
    """Uni-O4 eqs. 1, 4 and 7: E[min(r A, clip(r, 1 - eps, 1 + eps) A)], r = pi(a|s) / pi_k(a|s). To be maximised.

    log_prob, behavior_log_prob and advantages broadcast to (..., B); the mean is over the last axis, so an ensemble (M, B)
    gives (M,). Gradients flow through log_prob alone.
    """
    ratio = torch.exp(log_prob - behavior_log_prob.detach())
    weights = advantages.detach()
    return torch.minimum(ratio * weights, ratio.clamp(1 - clip_ratio, 1 + clip_ratio) * weights).mean(-1)


def normalise_advantages(advantages: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8) over the last axis, std of the population: a single step has the advantage 0, not NaN."""
    centred = advantages - advantages.mean(-1, keepdim=True)
    return centred / (advantages.std(-1, correction=0, keepdim=True) + 1e-8)
