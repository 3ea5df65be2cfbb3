"""Which estimate tells when an improvement of a robot's policy goes wrong? Prints JSON.

Uni-O4 without a gate on logs of the twin: a policy walks a floor that it was not trained for, and is improved from what it recorded
there. As in gates.py each policy on the way is measured, here on the floor by its mean return over trials of several speeds, and
estimated without it.

python benchmarks/twin_gates.py POLICY [--terrain mattress] [--seed 0] [--steps 1500] [--out runs/twin_gates] [--unseen]
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
from gate_study import MARGIN, OTHER_SEED, distances, estimates, released, say, unseen_critics, verdicts, walk
from numpy.typing import NDArray

from learners.onnx_graph import policy_of_graph
from learners.policy import GaussianPolicy
from learners.uni_o4 import UniO4, UniO4Config
from loop.config import CollectConfig, LoopConfig
from loop.stages import Context, run_collect
from offline_finetune.dataset import RobotDataset, build_dataset
from robot.episode_log import list_episodes
from robot.policy_artifact import load_artifact
from twin.evaluate import evaluate, straight_command
from twin.world import World, find_world

HORIZONS = (20, 100, 200)
COLLECT = CollectConfig(steps=180_000, sessions=20)
"""The paper's amount of data."""
HOLDOUT_SHARE = 0.2
COMMANDS, TRIALS, TRIAL_STEPS = (0.5, 0.8, 1.2), 16, 1000
"""Forward speeds of the measurement, m/s, within those of the data."""
TRIAL_SEED = 54_321


class MeanAction:
    """A policy that is not in a file yet."""

    def __init__(self, policy: GaussianPolicy) -> None:
        self._policy = policy

    @torch.no_grad()
    def act(self, observation_history: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean (N, 12) and standard deviation (12,)."""
        return self._policy(torch.from_numpy(observation_history)).numpy(), torch.exp(self._policy.log_std).numpy()


def recorded(policy: Path, terrain: str, seed: int, out: Path) -> RobotDataset:
    """What the policy records on the floor; taken from `out` where an earlier run has left it."""
    logs, done = out / "logs", out / "collected"
    if not done.exists():
        (out / "pretrained").mkdir(parents=True, exist_ok=True)
        (out / "pretrained" / "policy.onnx").write_bytes(policy.read_bytes())
        found = run_collect(Context(out, LoopConfig(terrain=terrain, collect=COLLECT), seed, say))
        done.write_text(json.dumps(found))
    return build_dataset(list_episodes(logs), HOLDOUT_SHARE, seed)


def true_returns(policies: Sequence[GaussianPolicy], world: World) -> NDArray[np.float64]:
    """Mean return (P,) over COMMANDS x TRIALS trials, the same starts for all."""
    found = []
    for index, policy in enumerate(policies):
        trials = [evaluate(MeanAction(policy), world, straight_command(vx), TRIALS, TRIAL_SEED, TRIAL_STEPS) for vx in COMMANDS]
        found.append(np.mean([trial.returns.mean() for trial in trials]))
        say("measured", index + 1, len(policies), {})
    return np.array(found)


def study(policy: Path, terrain: str, seed: int, steps: int, out: Path, unseen: bool) -> dict[str, Any]:
    """Everything about one floor and seed."""
    dataset = recorded(policy, terrain, seed, out)
    start, history = policy_of_graph(policy.read_bytes()), load_artifact(policy).metadata.layout.history
    learner = UniO4(dataset.train, start, history, UniO4Config(), seed)
    learner.fit(say, out)
    other = unseen_critics(UniO4(dataset.train, start, history, UniO4Config(), seed + OTHER_SEED), out) if unseen else None
    policies = walk(learner, steps)
    shape = -1, learner.config.members
    returns = true_returns(policies, find_world(terrain)).reshape(shape)
    found = estimates(learner, other, policies, HORIZONS) | released(learner, policies, HORIZONS)
    kl = np.array(distances(learner, policies)).reshape(shape)
    described = {"terrain": terrain, "seed": seed, "period": learner.config.gate_period, "falls_in_data": dataset.report.falls}
    return described | verdicts(found, returns, MARGIN * np.abs(returns), kl)


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--terrain", default="mattress")
    parser.add_argument("--unseen", action="store_true", help="also ask critics that the improvement never saw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("runs/twin_gates"))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    out = wanted.out / f"{Path(wanted.terrain).stem}_{wanted.seed}"
    print(json.dumps(study(wanted.policy, wanted.terrain, wanted.seed, wanted.steps, out, wanted.unseen)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
