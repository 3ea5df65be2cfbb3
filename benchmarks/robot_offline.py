"""What the offline stage makes of robot logs, beside IQL and behavior cloning on the same logs. Prints JSON.

Every policy is estimated on sessions that were held out, by AM-Q, fitted-Q evaluation and importance sampling, each as a difference to the
policy that it started from; and it walks the twin, with the same starts for all.

python benchmarks/robot_offline.py POLICY LOGS [--terrain mattress] [--seeds 0] [--commands 0.8] [--trials 50]
    [--set uni_o4.members=1 ...] [--only uni-o4] [--out runs/robot_offline]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from shared import MeanAction, say

from common.config import with_overrides
from learners.extraction import CLONING, ExtractionConfig, extract
from learners.improvement import Improvement
from learners.onnx_graph import policy_of_graph
from learners.policy import GaussianPolicy
from learners.uni_o4 import UniO4
from offline_finetune.config import FinetuneConfig
from offline_finetune.dataset import DatasetError, RobotDataset, build_dataset
from offline_finetune.evidence import estimates_of
from robot.log.episode_log import list_episodes
from robot.observation import ObservationLayout
from robot.policy.artifact import load_artifact
from twin.evaluate import evaluate, straight_command
from twin.world import find_world

TRIAL_SEED, TRIAL_STEPS = 12_345, 1000
METHODS = ("uni-o4", "iql", "bc")


def learnt(learner: UniO4, methods: list[str], out: Path) -> tuple[dict[str, GaussianPolicy], dict[str, Any]]:
    """Name -> policy, and what the gate said on the way to Uni-O4's."""
    found: dict[str, GaussianPolicy] = {}
    gate: dict[str, Any] = {}
    for method in methods:
        if method == "uni-o4":
            improvement = learner.improve(say, folder=out)
            found[method] = improvement.policy
            gate = {"accepted_steps": improvement.accepted_steps, "queries": len(improvement.queries)}
            gate |= {"accepted": sum(query.decision.accepted for query in improvement.queries), "kl_of_outcome": _kl(improvement)}
        else:
            found[method] = extract(learner, CLONING if method == "bc" else ExtractionConfig(), say, out)
    return found, gate


def _kl(improvement: Improvement) -> float:
    """Of what came of it, from its start, nats for each dimension of the action."""
    if improvement.average is not None and improvement.average.accepted:
        return improvement.average.kl
    accepted = [query.decision.kl for query in improvement.queries if query.decision.accepted and query.member == improvement.chosen_member]
    return accepted[-1] if accepted else 0.0


def walked(policy: GaussianPolicy, layout: ObservationLayout, wanted: argparse.Namespace) -> dict[str, Any]:
    """How it walks on the twin, command by command."""
    found = {}
    for vx in wanted.commands:
        world, command = find_world(wanted.terrain), straight_command(vx)
        trials = evaluate(MeanAction(policy), world, command, wanted.trials, TRIAL_SEED, TRIAL_STEPS, layout).summary(TRIAL_STEPS)
        found[f"{vx:g}"] = {name: trials[name] for name in ("return", "forward_speed", "falls", "trials")}
    return found


def study(wanted: argparse.Namespace, seed: int, config: FinetuneConfig, dataset: RobotDataset) -> dict[str, Any]:
    """One seed of the learners."""
    out, layout = wanted.out / f"seed_{seed}", load_artifact(wanted.policy).metadata.layout
    if layout != dataset.layout:
        raise DatasetError(f"{wanted.policy} sees another observation layout than the logs recorded")
    start = policy_of_graph(wanted.policy.read_bytes())
    learner = UniO4(dataset.train, start, layout.history, config.uni_o4, seed)
    learner.fit(say, wanted.parts / f"seed_{seed}" if wanted.parts else out)
    policies, gate = learnt(learner, wanted.only or list(METHODS), out)
    found: dict[str, Any] = {"pretrained": {"twin": walked(start, layout, wanted)}}
    for name, policy in policies.items():
        found[name] = {"twin": walked(policy, layout, wanted)}
        if not wanted.only:
            found[name]["estimates"] = estimates_of(learner, dataset, start, policy, config, seed, say, out)
    return {"seed": seed, "gate": gate, "policies": found}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Policy -> command -> mean return over seeds, each seed's, and all falls."""
    table: dict[str, Any] = {}
    for name in runs[0]["policies"]:
        twins = [run["policies"][name]["twin"] for run in runs]
        table[name] = {
            vx: {
                "return": round(float(np.mean([twin[vx]["return"]["mean"] for twin in twins])), 2),
                "of_each_seed": [round(twin[vx]["return"]["mean"], 2) for twin in twins],
                "falls": sum(twin[vx]["falls"] for twin in twins), "trials": sum(twin[vx]["trials"] for twin in twins),
            }
            for vx in twins[0]
        }  # fmt: skip
    return table


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("logs", type=Path)
    parser.add_argument("--terrain", default="mattress")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--commands", type=float, nargs="+", default=[0.8])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--set", nargs="+", default=[], help="settings of the offline stage, NAME=VALUE")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="these methods alone, without the estimates: for ablations")
    parser.add_argument("--parts", type=Path, help="the --out of an earlier run with the same logs: its critics and models are taken over")
    parser.add_argument("--out", type=Path, default=Path("runs/robot_offline"))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    overrides = {name: yaml.safe_load(value) for name, value in (each.split("=", 1) for each in wanted.set)}
    config = with_overrides(FinetuneConfig(), overrides)
    dataset = build_dataset(list_episodes(wanted.logs), config.holdout_share, 0)
    runs = [study(wanted, seed, config, dataset) for seed in wanted.seeds]
    data = {"train_steps": dataset.report.train_steps, "holdout_sessions": len(dataset.report.holdout_sessions)}
    print(json.dumps({"terrain": wanted.terrain, "overrides": overrides, "data": data, "summary": summary(runs), "runs": runs}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
