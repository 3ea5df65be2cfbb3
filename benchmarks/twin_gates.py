"""Which estimate tells when an improvement of a robot's policy goes wrong? Prints JSON.

Uni-O4 without a gate on logs of the twin: a policy walks a floor that it was not trained for, and is improved from what it recorded
there. As in gates.py each policy on the way is measured, here on the floor by its mean return over trials of several speeds, and
estimated without it; beside them what the default gate makes of the same.

python benchmarks/twin_gates.py POLICY [--terrain mattress] [--seed 0] [--steps 1500] [--out runs/twin_gates] [--unseen]
       [--exploration-std 0.3, 0 for as recorded]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gate_study import AGAIN, OTHER_SEED, by_default, distances, estimates, means, released, unseen_critics, verdicts, walk
from numpy.typing import NDArray
from shared import MeanAction, say

from common.config import config_hash
from common.errors import QuadloopError
from common.files import write_json
from learners.onnx_graph import policy_of_graph
from learners.policy import GaussianPolicy
from learners.uni_o4 import UniO4, UniO4Config
from loop.config import CollectConfig, LoopConfig
from loop.stages import Context, run_collect
from offline_finetune.dataset import RobotDataset, build_dataset
from robot.log.episode_log import list_episodes
from robot.observation import ObservationLayout
from robot.policy.artifact import PolicyArtifact, load_artifact
from twin.evaluate import evaluate, straight_command
from twin.world import World, find_world

HORIZONS = (20, 100, 200)
COLLECT = CollectConfig(steps=180_000, sessions=20)
"""The paper's amount of data."""
RECIPE = 3
"""Raised with any change after which the same policy records other logs: nothing older is taken over."""
HOLDOUT_SHARE = 0.2
COMMANDS, TRIALS, TRIAL_STEPS = (0.5, 0.8, 1.2), 16, 1000
"""Forward speeds of the measurement, m/s, within those of the data."""
TRIAL_SEED = 54_321


def recorded(policy: PolicyArtifact, terrain: str, seed: int, out: Path) -> RobotDataset:
    """What the policy records on the floor; taken from `out` where an earlier run has left it. QuadloopError for logs of another run."""
    done, key = out / "collected.json", config_hash([RECIPE, policy.sha256, asdict(find_world(terrain)), asdict(COLLECT), seed])
    if not done.exists():
        (out / "pretrained").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(policy.path, out / "pretrained" / "policy.onnx")
        write_json(
            done, {"key": key} | run_collect(Context(out, LoopConfig(terrain=terrain, collect=COLLECT), seed, say, find_world(terrain)))
        )
    if json.loads(done.read_text())["key"] != key:
        raise QuadloopError(f"{out} holds logs of another policy, floor or amount; remove it or choose another --out")
    return build_dataset(list_episodes(out / "logs"), HOLDOUT_SHARE, seed)


def true_returns(policies: Sequence[GaussianPolicy], world: World, layout: ObservationLayout, seed: int) -> NDArray[np.float64]:
    """The return of each of COMMANDS x TRIALS trials (P, N), the same starts for all policies; `seed` draws them."""
    found = []
    for index, policy in enumerate(policies):
        trials = [evaluate(MeanAction(policy), world, straight_command(vx), TRIALS, seed, TRIAL_STEPS, layout) for vx in COMMANDS]
        found.append(np.concatenate([trial.returns for trial in trials]))
        say("measured", index + 1, len(policies), {})
    return np.array(found)


def study(policy: Path, terrain: str, config: UniO4Config, seed: int, steps: int, out: Path, unseen: bool) -> dict[str, Any]:
    """Everything about one floor and seed."""
    artifact = load_artifact(policy)
    dataset, layout = recorded(artifact, terrain, seed, out), artifact.metadata.layout
    start = policy_of_graph(policy.read_bytes())
    learner = UniO4(dataset.train, start, layout.history, config, seed)
    learner.fit(say, out)
    other = unseen_critics(UniO4(dataset.train, start, layout.history, config, seed + OTHER_SEED), out) if unseen else None
    policies = walk(learner, steps)
    shape = -1, learner.config.members
    gated = learner.improve(say, folder=out)
    *of_members, of_gated = true_returns([*policies, gated.policy], find_world(terrain), layout, TRIAL_SEED)
    returns = np.array(of_members).mean(axis=1).reshape(shape)
    again = true_returns(policies, find_world(terrain), layout, TRIAL_SEED + 1)
    found = estimates(learner, other, policies, HORIZONS) | released(learner, policies, HORIZONS)
    kl = np.array(distances(learner, policies)).reshape(shape)
    described = {"terrain": terrain, "seed": seed, "period": config.gate_period, "exploration_std": config.exploration_std}
    described |= {"falls_in_data": dataset.report.falls} | by_default(gated, float(of_gated.mean()))
    return described | verdicts(found, returns, kl) | {"values": means(found | {AGAIN: torch.from_numpy(again)}, returns.shape)}


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--terrain", default="mattress")
    parser.add_argument("--unseen", action="store_true", help="also ask critics that the improvement never saw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("runs/twin_gates"))
    parser.add_argument("--exploration-std", type=float, default=UniO4Config().exploration_std)
    wanted = parser.parse_args()
    config = UniO4Config(exploration_std=wanted.exploration_std or None)
    torch.set_num_threads(1)
    out = wanted.out / f"{Path(wanted.terrain).stem}_{wanted.seed}"
    print(json.dumps(study(wanted.policy, wanted.terrain, config, wanted.seed, wanted.steps, out, wanted.unseen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
