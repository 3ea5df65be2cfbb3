"""What happens to a policy in the first steps of its online fine-tuning? Prints JSON.

After every update: the score, which counts 1,000 steps; how long episodes last; and the discounted return, which is what PPO raises. All
of the mean action, over the protocol's episodes, for the seeds whose offline cells are there.

python benchmarks/early_steps.py walker2d-medium-replay [--seeds 0 1 2] [--updates 12] [--cells runs/d4rl/cells]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from shared import say

from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.finetuning import LEARNER, begun
from d4rl_bench.job import EVALUATION_SEED, UNI_O4, Job
from d4rl_bench.online import SEED_STRIDE, OnlineConfig, OnlineTrainer
from d4rl_bench.task import Task, find_task


def watched(task: Task, start: Path, seed: int, updates: int) -> dict[str, Any]:
    """The first updates from the offline run in `start`."""
    config = cast(OnlineConfig, Job("online", task.name, UNI_O4, seed).config)
    trainer = begun(task, start, config, seed)
    evaluator = Evaluator(task, EVALUATION_SEED + SEED_STRIDE * seed)
    rows = [_measured(task, trainer, evaluator)]
    for update in range(1, updates + 1):
        _, figures = trainer.iterate()
        rows.append(_measured(task, trainer, evaluator) | {"kl": round(figures["kl"], 4)})
        say(f"seed {seed}", update, updates, figures)
    trainer.close()
    evaluator.close()
    return {"seed": seed, "rows": rows}


def _measured(task: Task, trainer: OnlineTrainer, evaluator: Evaluator) -> dict[str, float]:
    rewards = evaluator.rewards(mean_action(trainer.learner.policy, trainer.learner.scaler))
    discounts = trainer.config.ppo.gamma ** np.arange(len(rewards))
    return {
        "steps": trainer.steps, "score": round(task.score(float(rewards.sum(0).mean())), 2),
        "episode_steps": round(float((rewards != 0).sum(0).mean()), 1), "discounted": round(float((discounts @ rewards).mean()), 2),
    }  # fmt: skip


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--cells", type=Path, default=Path("runs/d4rl/cells"))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    task, runs = find_task(wanted.task), []
    for seed in wanted.seeds:
        starts = sorted(path.parent for path in (wanted.cells / task.name).glob(f"offline-uni-o4-seed_{seed}-*/{LEARNER}"))
        if len(starts) != 1:
            print(f"{wanted.cells}: {len(starts)} offline cells of Uni-O4 for seed {seed}, not one", file=sys.stderr)
            return 1
        runs.append(watched(task, starts[0], seed, wanted.updates))
    print(json.dumps({"task": task.name, "runs": runs}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
