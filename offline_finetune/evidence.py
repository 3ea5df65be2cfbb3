"""What held-out logs say of an old and a new policy: three estimates that share as little as possible, each with an interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.statistics import cluster_ci95, t_quantile_975
from learners.extraction import extract
from learners.fqe import fitted_q_evaluation
from learners.importance import effective_share, log_ratios, stretches_of, weighted_rewards, wis_value
from learners.policy import GaussianPolicy
from learners.progress import Progress
from learners.uni_o4 import UniO4
from offline_finetune.config import FinetuneConfig
from offline_finetune.dataset import RobotDataset

_RESAMPLES = 4000  # of held-out sessions


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
    """AM-Q from held-out start states; fitted-Q evaluation and importance sampling on held-out transitions: old beside new, per control
    step. `folder` keeps the clone of the behavior."""
    behavior = extract(learner, config.behavior, progress, folder)
    learner.begin("estimates")
    sessions = dataset.holdout_sessions
    picks = np.random.default_rng(seed).permutation(len(sessions))[: config.max_amq_starts]
    starts = torch.from_numpy(dataset.holdout.observations[picks])
    both = learner.estimate([old, new], starts)
    per_step = both.double().numpy() / (config.uni_o4.gate.horizon * config.uni_o4.reward_scale)
    amq = _paired_by_session(per_step, sessions[picks[: per_step.shape[1]]])
    fqe = fitted_q_evaluation(dataset.holdout, sessions, [old, new], config.fqe, seed, progress).values
    return {"amq": amq, "fqe": _paired_by_replica(fqe * (1 - config.fqe.gamma))} | _importance(dataset, (old, new), behavior, config)


def _paired_by_session(values: NDArray[np.floating[Any]], sessions: NDArray[np.int64]) -> dict[str, Any]:
    difference = values[1] - values[0]
    return {
        "old": float(values[0].mean()), "new": float(values[1].mean()), "difference": float(difference.mean()),
        "ci95": cluster_ci95(difference, sessions), "unit": "mean Q along the rollouts, in rewards",
    }  # fmt: skip


def _paired_by_replica(values: Tensor) -> dict[str, Any]:
    difference = values[1] - values[0]
    mean, width = float(difference.mean()), t_quantile_975(len(difference) - 1) * float(difference.std())
    return {
        "old": float(values[0].mean()), "new": float(values[1].mean()), "difference": mean,
        "ci95": [mean - width, mean + width], "unit": "discounted mean reward a control step",
    }  # fmt: skip


def _importance(
    dataset: RobotDataset, policies: tuple[GaussianPolicy, GaussianPolicy], behavior: GaussianPolicy, config: FinetuneConfig
) -> dict[str, dict[str, Any]]:
    """Weighted importance sampling, {"wis": ...}; the interval resamples sessions. {} where no stretch is long enough."""
    data, gamma = dataset.holdout, config.wis.gamma
    stretches = stretches_of(data, config.wis.horizon)
    if not len(stretches.rows):
        return {}
    names, groups = np.unique(dataset.holdout_sessions[stretches.rows[:, 0]], return_inverse=True)
    members = (groups == np.arange(len(names))[:, None]).astype(np.float64)  # (session, stretch)
    counts = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), _RESAMPLES)
    values, resampled, shares = [], [], []
    for policy in policies:
        earned, weights = weighted_rewards(data, stretches, log_ratios(data, policy, behavior, config.uni_o4.action_limit))
        of_session = members @ earned, members @ weights
        values.append(float(wis_value(earned.sum(0), weights.sum(0), gamma)))
        resampled.append(wis_value(counts @ of_session[0], counts @ of_session[1], gamma))
        shares.append(effective_share(weights))
    low, high = np.percentile(resampled[1] - resampled[0], [2.5, 97.5])
    return {
        "wis": {
            "old": values[0], "new": values[1], "difference": values[1] - values[0], "ci95": [float(low), float(high)],
            "unit": f"discounted mean reward a control step, {config.wis.horizon} steps ahead", "effective_share": min(shares),
        }
    }  # fmt: skip
