"""Generalised advantage estimation (Schulman et al. 2015b) that keeps falling and running out of time apart."""

from __future__ import annotations

import torch
from torch import Tensor


def generalised_advantages(
    rewards: Tensor, values: Tensor, next_values: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """(advantages, returns), each (T, N), from float rewards, values, next_values (T, N) and bool terminated, truncated (T, N).

    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t);  A_t = delta_t + gamma lambda (1 - ended_t) A_{t+1}.
    next_values[t] is the value of the observation that really followed step t: at a truncation that is the episode's final
    observation, not the first one of the next episode. returns = advantages + values.
    """
    advantages = torch.zeros_like(rewards)
    carried = rewards.new_zeros(rewards.shape[1:])
    for t in range(len(rewards) - 1, -1, -1):
        alive = (~terminated[t]).to(rewards.dtype)
        continues = alive * (~truncated[t]).to(rewards.dtype)
        delta = rewards[t] + gamma * alive * next_values[t] - values[t]
        carried = delta + gamma * gae_lambda * continues * carried
        advantages[t] = carried
    return advantages, advantages + values
