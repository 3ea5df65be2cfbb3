"""What held-out logs say of an old and a new policy: three estimates that share as little as possible, each with an interval."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.statistics import cluster_ci95, jackknife_ci95, t_quantile_975
from learners.extraction import extract
from learners.fqe import fitted_q_evaluation
from learners.importance import effective_share, log_ratios, stretches_of, weighted_rewards, wis_value
from learners.policy import GaussianPolicy
from learners.progress import Progress
from learners.uni_o4 import UniO4
from offline_finetune.config import FinetuneConfig
from offline_finetune.dataset import RobotDataset


def estimates_of(
    learner: UniO4,
    dataset: RobotDataset,
    old: GaussianPolicy,
    new: GaussianPolicy,
    config: FinetuneConfig,
    seed: int,
    progress: Progress,
    folder: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Old beside new: AM-Q from held-out start states, as the mean Q along its rollouts; fitted-Q evaluation and importance sampling on
    held-out transitions, as reward a control step, both with fitted-Q evaluation's discount. `folder` keeps what is learnt for them."""
    behavior = extract(learner, config.behavior, progress, folder)
    learner.begin("estimates")
    sessions = dataset.holdout_sessions
    picks = np.random.default_rng(seed).permutation(len(sessions))[: config.max_amq_starts]
    starts = torch.from_numpy(dataset.holdout.observations[picks])
    both = learner.estimate([old, new], starts)
    per_step = both.double().numpy() / (config.uni_o4.gate.horizon * config.uni_o4.reward_scale)
    amq = paired_by_session(per_step, sessions[picks[: per_step.shape[1]]])
    limit = config.uni_o4.action_limit
    fqe = fitted_q_evaluation(dataset.holdout, sessions, [old, new], limit, config.fqe, seed, progress, folder)
    a_step = fqe * (1 - config.fqe.gamma)
    per_replica = paired_by_replica(a_step, len(np.unique(sessions)))
    if diverged(a_step, dataset.holdout.rewards):
        per_replica |= {"ci95": None, "diverged": True}
    return {"amq": amq, "fqe": per_replica} | by_importance(dataset, (old, new), behavior, config)


def paired_by_session(values: NDArray[np.floating[Any]], sessions: NDArray[np.int64]) -> dict[str, Any]:
    """Of (2, N) values of the old and the new policy at N starts, each of a session (N,)."""
    difference = values[1] - values[0]
    return {
        "old": float(values[0].mean()), "new": float(values[1].mean()), "difference": float(difference.mean()),
        "ci95": cluster_ci95(difference, sessions), "unit": "mean Q along the rollouts, in rewards",
    }  # fmt: skip


def paired_by_replica(values: Tensor, sessions: int) -> dict[str, Any]:
    """Of (2, replicas) values of the old and the new policy.

    Student's t, for there are few replicas r, drawn from few sessions s, and they know no more than these: its degrees of freedom are
    1 / (1 / (s - 1) + 1 / (r - 1)). A bootstrap's variance is too small by (s - 1) / s, which is made up for. There is no interval if all
    replicas agree, as draws of two sessions may, but for [0, 0] of a policy that is the old one.
    """
    difference = values[1] - values[0]
    interval, mean, spread = None, float(difference.mean()), float(difference.std())
    if min(sessions, len(difference)) > 1 and (spread > 0 or not difference.any()):
        freedom = 1 / (1 / (sessions - 1) + 1 / (len(difference) - 1))
        width = t_quantile_975(freedom) * spread * math.sqrt(sessions / (sessions - 1))
        interval = [mean - width, mean + width]
    return {
        "old": float(values[0].mean()), "new": float(values[1].mean()), "difference": mean,
        "ci95": interval, "unit": "discounted mean reward a control step",
    }  # fmt: skip


def diverged(values: Tensor, rewards: NDArray[np.float32]) -> bool:
    """Whether a discounted mean reward is beyond what anybody could earn: the recorded rewards (N,) and the 0 after a fall bound it. As
    much again as they span is left for a Q that is a little off."""
    low, high = min(0.0, float(rewards.min())), max(0.0, float(rewards.max()))
    span = high - low
    return not bool(((values >= low - span) & (values <= high + span)).all())  # so that what is no number has diverged


def by_importance(
    dataset: RobotDataset, policies: tuple[GaussianPolicy, GaussianPolicy], behavior: GaussianPolicy, config: FinetuneConfig
) -> dict[str, dict[str, Any]]:
    """Weighted importance sampling, {"wis": ...}. {} where no stretch is long enough."""
    data, gamma = dataset.holdout, config.fqe.gamma
    stretches = stretches_of(data, config.wis.horizon)
    if not len(stretches.rows):
        return {}
    names, groups = np.unique(dataset.holdout_sessions[stretches.rows[:, 0]], return_inverse=True)
    inside = (groups == np.arange(len(names))[:, None]).astype(np.float64)  # (session, stretch)
    values, without, shares = [], [], []
    for policy in policies:
        earned, weights = weighted_rewards(data, stretches, log_ratios(data, policy, behavior, config.uni_o4.action_limit))
        values.append(float(wis_value(earned.sum(0), weights.sum(0), gamma)))
        if len(names) > 1:
            without.append(wis_value((1 - inside) @ earned, (1 - inside) @ weights, gamma))
        shares.append(effective_share(weights))
    difference = values[1] - values[0]
    return {
        "wis": {
            "old": values[0], "new": values[1], "difference": difference,
            "ci95": jackknife_ci95(difference, without[1] - without[0], inside.sum(1)) if without else None,
            "unit": f"discounted mean reward a control step, {config.wis.horizon} steps ahead", "effective_share": min(shares),
        }
    }  # fmt: skip
