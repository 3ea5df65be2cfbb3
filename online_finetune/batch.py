"""Episodes of one policy as an on-policy batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.errors import QuadloopError
from learners.advantages import generalised_advantages
from learners.policy import GaussianPolicy
from learners.ppo import PpoBatch
from learners.value import Value
from robot.log.episode import Episode, without_unreadable_end


class ForeignEpisodeError(QuadloopError):
    """An episode that another policy made: learning from it as if it were on-policy would be wrong."""


def on_policy_batch(
    episodes: Sequence[Episode],
    policy_sha256: str,
    policy: GaussianPolicy,
    value: Value,
    reward_scale: float,
    gamma: float,
    gae_lambda: float,
) -> PpoBatch:
    """The usable steps of all episodes, with advantages by GAE within each; ForeignEpisodeError for episodes of another policy.

    Steps whose velocity was not measured take part in GAE with the reward they have and are then left out of the batch.
    """
    parts = []
    for episode in episodes:
        if episode.attributes.policy_sha256 != policy_sha256:
            raise ForeignEpisodeError(
                f"an episode was made by policy {episode.attributes.policy_sha256[:12] or 'unknown'}, not by {policy_sha256[:12]}; "
                "collect it again with the policy that is to be improved"
            )
        parts.append(_episode_part(without_unreadable_end(episode), value, reward_scale, gamma, gae_lambda))
    observations, actions, log_prob, mean, advantages, returns = (torch.cat(column) for column in zip(*parts, strict=True))
    return PpoBatch(observations, actions, log_prob, mean, policy.log_std.detach().clone(), advantages, returns)


@torch.no_grad()
def _episode_part(episode: Episode, value: Value, reward_scale: float, gamma: float, gae_lambda: float) -> tuple[Tensor, ...]:
    observations = torch.from_numpy(episode.observations).flatten(1)
    final = torch.from_numpy(episode.final_observation).flatten()[None]
    values = value(torch.cat([observations, final]))
    advantages, returns = generalised_advantages(
        torch.from_numpy(episode.rewards)[:, None] * reward_scale, values[:-1, None], values[1:, None],
        torch.from_numpy(episode.terminated)[:, None], torch.from_numpy(episode.truncated)[:, None], gamma, gae_lambda,
    )  # fmt: skip
    columns = (
        observations, torch.from_numpy(episode.actions), torch.from_numpy(episode.log_prob),
        torch.from_numpy(episode.action_mean), advantages[:, 0], returns[:, 0],
    )  # fmt: skip
    usable = torch.from_numpy(episode.reward_measured)
    return tuple(column[usable] for column in columns)
