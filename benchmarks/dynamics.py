"""How good the learned transition models are on episodes that none of them was trained on. Prints JSON.

For the next frame: R2 of its change, averaged over dimensions, and the share of changes within one and two of the model's own deviations
(68 and 95 % if its spread is right). For the reward: correlation. For terminations: how many are in the rows, how many the model expects,
and how often a row that terminates is given a higher probability than one that does not (AUC, 0.5 is chance).

python benchmarks/dynamics.py hopper-medium-replay [--data runs/d4rl/data] [--cells runs/d4rl/cells]
python benchmarks/dynamics.py POLICY.onnx --logs DIR [--parts DIR]
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
from torch import Tensor

from d4rl_bench.offline import PARTS, config_of
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.scaling import scaled, scaler_of
from d4rl_bench.source import load
from d4rl_bench.task import find_task
from learners.onnx_graph import policy_of_graph
from learners.policy import GaussianPolicy
from learners.uni_o4 import ELITE_SHARE, UniO4, UniO4Config
from offline_finetune.dataset import build_dataset
from robot.log.episode_log import list_episodes
from robot.policy.artifact import load_artifact


def of_task(name: str, data: str, cells: Path) -> tuple[UniO4, Path]:
    """The learner of a cell, and where its parts are."""
    task = find_task(name)
    transitions, config = load(task, data).transitions, config_of(task, "minutes", {})
    seen = scaled(learning_rewards(task, transitions).applied_to(transitions), scaler_of(transitions.observations))
    start = GaussianPolicy(task.observation_size, task.action_size, members=(config.uni_o4.members,))
    return UniO4(seen, start, 1, config.uni_o4, seed=0), cells / task.name / PARTS


def of_robot(policy: Path, logs: Path) -> UniO4:
    """The learner of a fine-tuning with the default settings."""
    dataset = build_dataset(list_episodes(logs), 0.2, 0)
    return UniO4(dataset.train, policy_of_graph(policy.read_bytes()), load_artifact(policy).metadata.layout.history, UniO4Config(), seed=0)


@torch.no_grad()
def figures(learner: UniO4) -> dict[str, Any]:
    """Of the elites, on the rows that chose them."""
    learner.begin("dynamics")
    order = torch.randperm(len(learner.transitions.episode_starts), generator=learner.generator).numpy()
    _, unknown = learner.transitions.split(ELITE_SHARE, order)
    model, batch = learner.model, learner.data.rows(torch.from_numpy(unknown))
    elites, size = len(model.elites), model.frame_size
    observations, actions = (each.expand(elites, *each.shape) for each in (batch.observations, batch.actions))
    zeros = torch.zeros(elites, len(unknown), size)
    ready = model.ready()
    mean, rewards, terminates = ready.predict(observations, actions, zeros)
    wider, _, _ = ready.predict(observations, actions, zeros + 1)
    newest = slice(-size, None)
    frame, true = batch.observations[:, newest], batch.next_observations[:, newest]
    error, spread = mean[..., newest] - true, (wider - mean)[..., newest]
    moved = (true - frame).var(0) > 1e-8  # a command that is held does not move
    r2 = 1 - error.square().mean((0, 1))[moved] / (true - frame).var(0)[moved]
    within = [(error.abs() <= k * spread)[..., moved].float().mean() for k in (1, 2)]
    return {
        "rows": len(unknown), "r2_of_change": round(float(r2.mean()), 3), "within_1_deviation": round(float(within[0]), 3),
        "within_2_deviations": round(float(within[1]), 3),
        "reward_correlation": round(float(np.corrcoef(rewards.mean(0), batch.rewards)[0, 1]), 3),
        "terminations": int(batch.terminated.sum()), "terminations_expected": round(float(terminates.mean(0).sum()), 1),
        "termination_auc": auc(terminates.mean(0), batch.terminated),
    }  # fmt: skip


def auc(probability: Tensor, terminated: Tensor) -> float | None:
    """Share of (terminating, other) pairs of rows in the right order; None where none terminates."""
    ranks = probability.argsort().argsort().double() + 1
    ends, count = terminated.bool(), float(terminated.sum())
    if count in (0, len(terminated)):
        return None
    return round(float((ranks[ends].sum() - count * (count + 1) / 2) / (count * (len(terminated) - count))), 3)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what")
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--parts", type=Path, help="where a fine-tuning of these logs left its models")
    parser.add_argument("--data", default="runs/d4rl/data")
    parser.add_argument("--cells", type=Path, default=Path("runs/d4rl/cells"))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    learner, parts = (
        (of_robot(Path(wanted.what), wanted.logs), wanted.parts) if wanted.logs else of_task(wanted.what, wanted.data, wanted.cells)
    )
    learner.fit_dynamics(say, parts)
    print(json.dumps({"what": wanted.what} | figures(learner)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
