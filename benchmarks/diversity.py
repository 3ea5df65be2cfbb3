"""Does the disagreement term of cloning (eq. 6) keep the members of an ensemble apart, and at what cost? Prints JSON.

Four members are cloned with several weights alpha of the term: from made data with four modes (in each of 5,000 states one of the actions
(+-0.6, +-0.6), give or take 0.1), or from robot logs. Spread is the root mean square distance of the members' means from their centre, over
that of the data's actions from theirs; a mode is covered in a state if some member's mean is within 0.2 of it; log_prob is of held-out
actions, of the members on average and of the best of them in each state.

python benchmarks/diversity.py [--logs DIR] [--alphas 0 0.1 0.3 1] [--seeds 0 1 2] [--steps 3000]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shared import say

from learners.cloning import CloningConfig, clone_behavior
from learners.disagreement import disagreement
from learners.policy import GaussianPolicy, clipped_log_prob
from learners.transitions import Transitions
from offline_finetune.dataset import build_dataset
from robot import go1
from robot.log.episode_log import list_episodes

MEMBERS = 4
TOY_LIMIT = 1.0
MODES = torch.tensor([(x, y) for x in (-0.6, 0.6) for y in (-0.6, 0.6)])
REACH = 0.2


def made(seed: int, rows: int = 5_000) -> Transitions:
    """States (N, 1) and one of the four modes in each."""
    random = np.random.default_rng(seed)
    states = random.uniform(-1, 1, (rows, 1)).astype(np.float32)
    actions = MODES.numpy()[random.integers(len(MODES), size=rows)] + random.normal(0.0, 0.1, (rows, 2))
    ends = np.ones(rows, np.bool_)
    return Transitions(states, actions.astype(np.float32), np.zeros(rows, np.float32), states, ends, ~ends, np.arange(rows))


@torch.no_grad()
def figures(policies: GaussianPolicy, unseen: Transitions, limit: float, modes: bool) -> dict[str, float]:
    """Of an ensemble on data that it was not fitted to."""
    states, actions = torch.from_numpy(unseen.observations), torch.from_numpy(unseen.actions)
    mean = policies(states).clamp(-limit, limit)
    spread = (mean - mean.mean(0)).square().sum(-1).mean().sqrt() / (actions - actions.mean(0)).square().sum(-1).mean().sqrt()
    log_prob = clipped_log_prob(actions, policies(states), policies.log_std, limit)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    found = {
        "spread": spread, "disagreement": disagreement(policies.log_std, mean, noise).mean(), "log_prob": log_prob.mean(),
        "log_prob_of_best": log_prob.amax(0).mean(), "std": torch.exp(policies.log_std).mean(),
    }  # fmt: skip
    if modes:
        near = (mean[:, :, None] - MODES).norm(dim=-1) < REACH  # (member, state, mode)
        found["modes_covered"] = near.any(0).float().mean()
    return {name: round(float(value), 3) for name, value in found.items()}


def main() -> int:
    """Print the figures of every alpha, averaged over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.0, 0.1, 0.3, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=3_000)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    dataset = build_dataset(list_episodes(wanted.logs), 0.2, 0) if wanted.logs else None
    limit = go1.ACTION_CLIP if dataset else TOY_LIMIT
    table: dict[str, Any] = {}
    for alpha in wanted.alphas:
        found = []
        for seed in wanted.seeds:
            known, unseen = (dataset.train, dataset.holdout) if dataset else (made(seed), made(seed + 1_000))
            config = CloningConfig(steps=wanted.steps, disagreement_weight=alpha)
            found.append(figures(clone_behavior(known, MEMBERS, limit, config, seed, say), unseen, limit, modes=dataset is None))
        table[f"{alpha:g}"] = {name: round(float(np.mean([each[name] for each in found])), 3) for name in found[0]}
    print(json.dumps({"members": MEMBERS, "steps": wanted.steps, "seeds": wanted.seeds, "logs": bool(wanted.logs), "alpha": table}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
