"""Which estimate tells when an improvement goes wrong? Prints JSON.

Uni-O4 on a task of D4RL without a gate: every `gate_period` steps each member's policy replaces its behavior policy, come what may. Each
policy on the way is measured in the environment, by its score and by its discounted return, which is what critics foresee, and
estimated in the learned model on common start states and noise. For every estimate: what it says of each policy, and where a gate that
rests on it (a one-sided 90 % test against the best so far, ending after three refusals) would have stopped each member. Beside them what
the default gate makes of the same, and what the same policies have in as many other episodes, which no estimate can be expected to beat.

python benchmarks/gates.py hopper-medium-expert [--seed 0] [--steps 1000] [--data runs/d4rl/data] [--cells runs/d4rl/cells] [--unseen]
       [--exploration-std 0.3, 0 for as recorded]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate_study import AGAIN, OTHER_SEED, by_default, distances, estimates, means, released, unseen_critics, verdicts, walk
from numpy.typing import NDArray
from shared import say

from d4rl_bench.evaluation import Act, Evaluator, mean_action
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
    gated = learner.improve(say, folder=parts)
    acts = [mean_action(policy, scaler) for policy in (*policies, gated.policy)]
    starts = EVALUATION_SEED + SEED_STRIDE * seed
    (*returns, of_gated), (*discounted, _) = measured(task, acts, starts, config.uni_o4.iql.gamma)
    again = measured(task, acts[:-1], starts + task.evaluation_episodes, config.uni_o4.iql.gamma)
    shape = -1, config.uni_o4.members
    kl = np.array(distances(learner, policies)).reshape(shape)
    found = estimates(learner, other, policies, HORIZONS) | released(learner, policies, HORIZONS)
    values, foreseen_again = (means({AGAIN: torch.from_numpy(each)}, kl.shape) for each in again)
    described = {"task": task.name, "data": transitions.sha256, "seed": seed, "period": config.uni_o4.gate_period}
    described |= {"exploration_std": config.uni_o4.exploration_std} | by_default(gated, task.score(float(of_gated.mean())))
    true, foreseen = (np.array(each).mean(axis=1).reshape(shape) for each in (returns, discounted))
    described |= verdicts(found, (true - task.random_return) / task.point, kl)
    described |= {"values": means(found, kl.shape) | values}
    return described | {"discounted": {"scores": foreseen.round(2).tolist(), "values": foreseen_again}}


def measured(task: Task, acts: Sequence[Act], first_seed: int, gamma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns and discounted returns of each policy's episodes (P, N), whose starts are those of `first_seed` and the seeds after it."""
    evaluator = Evaluator(task, first_seed)
    rewards = [evaluator.rewards(act) for act in acts]
    evaluator.close()
    discounted = [gamma ** np.arange(len(each)) @ each for each in rewards]
    return np.array([each.sum(axis=0) for each in rewards]), np.array(discounted)


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
