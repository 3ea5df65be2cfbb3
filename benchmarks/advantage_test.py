"""Do unseen episodes bear the advantages out? The gate's first question, asked of a policy's logs. Prints JSON.

python benchmarks/advantage_test.py POLICY DIR ... [--seeds 0 1 2] [--critic-steps 5000]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from shared import say

from common.result import json_value
from learners.onnx_graph import policy_of_graph
from learners.uni_o4 import UniO4, UniO4Config
from offline_finetune.dataset import build_dataset
from robot.log.episode_log import list_episodes
from robot.policy.artifact import load_artifact


def main() -> int:
    """Print the figures of every folder of logs."""
    config = UniO4Config()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--critic-steps", type=int, default=config.iql.steps)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    config = replace(config, iql=replace(config.iql, steps=wanted.critic_steps))
    history = load_artifact(wanted.policy).metadata.layout.history
    start = policy_of_graph(wanted.policy.read_bytes())
    found = {}
    for folder in wanted.logs:
        train = build_dataset(list_episodes(folder), 0.2, 0).train
        found[str(folder)] = [json_value(UniO4(train, start, history, config, seed).test_advantages(say)) for seed in wanted.seeds]
    print(json.dumps({"seeds": wanted.seeds, "critic_steps": wanted.critic_steps, "advantage_test": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
