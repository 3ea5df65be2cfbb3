"""Which estimate tells when an improvement goes wrong? Prints JSON.

Uni-O4 on a task of D4RL without a gate: every `gate_period` steps each member's policy replaces its behavior policy, come what may. Each
policy on the way is measured in the environment, by its score and by its discounted return, which is what critics foresee, and
estimated in the learned model on common start states and noise. For every estimate: how often it tells the sign of a true change between
two policies that follow one another, and where a gate that rests on it (a one-sided 90 % test against the best so far, ending after three
refusals) would have stopped each member. Beside them what the default gate makes of the same.

python benchmarks/gates.py hopper-medium-expert [--seed 0] [--steps 1000] [--data runs/d4rl/data] [--cells runs/d4rl/cells] [--unseen]
       [--exploration-std 0.3, 0 for as recorded]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate_study import MARGIN, OTHER_SEED, by_default, distances, estimates, means, released, unseen_critics, verdicts, walk
from shared import say

from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.job import EVALUATION_SEED
from d4rl_bench.offline import PARTS, OfflineConfig, config_of, fitted_learner
from d4rl_bench.online import SEED_STRIDE
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.source import load
from d4rl_bench.task import Task, find_task
from learners.uni_o4 import UniO4

HORIZONS = (20, 100, 300)


def study(task: Task, config: OfflineConfig, seed: int, steps: int, data: str, parts: Path, unseen: bool) -> dict[str, Any]:
    """Everything about one task and seed."""
    transitions = load(task, data).transitions
    learner, scaler = fitted_learner(transitions, learning_rewards(task, transitions), config, seed, parts, say)
    other = unseen_critics(UniO4(learner.transitions, learner.start, 1, config.uni_o4, seed + OTHER_SEED), parts) if unseen else None
    policies = walk(learner, steps)
    shape = -1, config.uni_o4.members
    evaluator = Evaluator(task, EVALUATION_SEED + SEED_STRIDE * seed)
    rewards = [evaluator.rewards(mean_action(policy, scaler)).mean(axis=1) for policy in policies]
    gated = learner.improve(say, folder=parts)
    score = evaluator.score(mean_action(gated.policy, scaler))
    evaluator.close()
    returns = np.array([each.sum() for each in rewards]).reshape(shape)
    discounted = np.array([each @ config.uni_o4.iql.gamma ** np.arange(len(each)) for each in rewards]).reshape(shape)
    scores, margins = (returns - task.random_return) / task.point, MARGIN * np.abs(returns) / task.point
    found = estimates(learner, other, policies, HORIZONS) | released(learner, policies, HORIZONS)
    kl = np.array(distances(learner, policies)).reshape(shape)
    described = {"task": task.name, "data": transitions.sha256, "seed": seed, "period": config.uni_o4.gate_period}
    described |= {"exploration_std": config.uni_o4.exploration_std} | by_default(gated, score)
    foreseen = verdicts(found, discounted, MARGIN * np.abs(discounted), kl)
    return described | verdicts(found, scores, margins, kl) | {"values": means(found, scores.shape), "discounted": foreseen}


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--unseen", action="store_true", help="also ask critics that the improvement never saw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--data", default="runs/d4rl/data")
    parser.add_argument("--cells", type=Path, default=Path("runs/d4rl/cells"))
    parser.add_argument("--exploration-std", type=float)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    task = find_task(wanted.task)
    other = {} if wanted.exploration_std is None else {"uni_o4.exploration_std": wanted.exploration_std or None}
    found = study(
        task, config_of(task, "minutes", other), wanted.seed, wanted.steps, wanted.data, wanted.cells / task.name / PARTS, wanted.unseen
    )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
