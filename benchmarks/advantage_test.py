"""Do unseen episodes bear the advantages out? The gate's first question, asked of D4RL tasks and of robot logs. Prints JSON.

python benchmarks/advantage_test.py [--tasks hopper-medium ...] [--data runs/d4rl/data] [--logs DIR ...] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from shared import say

from d4rl_bench.offline import config_of
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.scaling import scaled, scaler_of
from d4rl_bench.source import load
from d4rl_bench.task import find_task
from learners.advantage_test import in_json
from learners.policy import GaussianPolicy
from learners.transitions import Transitions
from learners.uni_o4 import UniO4, UniO4Config
from offline_finetune.dataset import build_dataset
from robot.episode_log import list_episodes


def tested(data: Transitions, config: UniO4Config, seed: int) -> dict[str, float | None] | None:
    """Of one half of the episodes by the other; no policy has a part in it."""
    nobody = GaussianPolicy(data.observations.shape[1], data.actions.shape[1], (1,))
    return in_json(UniO4(data, nobody, 1, config, seed).test_advantages(say))


def main() -> int:
    """Print the figures of every task and every folder of logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=[])
    parser.add_argument("--data", default="runs/d4rl/data")
    parser.add_argument("--logs", nargs="*", type=Path, default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for task in map(find_task, wanted.tasks):
        raw = load(task, wanted.data).transitions
        data = scaled(learning_rewards(task, raw).applied_to(raw), scaler_of(raw.observations))
        found[task.name] = [tested(data, config_of(task, "minutes", {}).uni_o4, seed) for seed in wanted.seeds]
    for folder in wanted.logs:
        train = build_dataset(list_episodes(folder), 0.2, 0).train
        found[str(folder)] = [tested(train, UniO4Config(), seed) for seed in wanted.seeds]
    print(json.dumps({"data": wanted.data, "seeds": wanted.seeds, "advantage_test": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
