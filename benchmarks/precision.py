"""Do bf16 products change what the critics learn, or what the gate decides? Prints JSON.

Critics of the paper's size are fitted to a D4RL task in float32 and in bf16, from the same weights on the same batches, and in float32 with
another seed for comparison. For each: losses and mean V along the way, and how their advantages of the data's actions correlate with the
first one's. Then an improvement without a gate, and the default gate's question about each of its steps, asked of the float32 critics and
models in both formats.

python benchmarks/precision.py hopper-medium-replay [--steps 3000] [--improvement 1000] [--data runs/d4rl/data]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gate_study import at_precision, walk
from shared import say

from d4rl_bench.offline import config_of, fitted_learner
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.source import load
from d4rl_bench.task import find_task
from learners.batches import NStepData
from learners.gate import decide
from learners.iql import PAPER as PAPER_IQL
from learners.iql import IqlCritics
from learners.policy import GaussianPolicy
from learners.precision import Precision, multiplies_bf16
from learners.transitions import Transitions
from learners.uni_o4 import UniO4

POINTS = 10  # along a learning curve


def fitted(data: Transitions, steps: int, precision: Precision, seed: int) -> tuple[IqlCritics, list[dict[str, float]]]:
    """Critics of the paper's sizes, and the means of their figures over each tenth of the steps."""
    torch.manual_seed(seed)
    config = replace(PAPER_IQL, precision=precision)
    stretches, generator = NStepData(data, config.n_step, config.gamma), torch.Generator().manual_seed(seed)
    critics, curve = IqlCritics(stretches.all, config), []
    for point in range(1, POINTS + 1):
        figures = [critics.update(stretches.draw(config.batch_size, generator)) for _ in range(steps // POINTS)]
        curve.append({name: round(float(torch.stack([each[name] for each in figures]).mean()), 4) for name in figures[0]})
        say(f"critics in {precision}, seed {seed}", point * (steps // POINTS), steps, {})
    return critics, curve


def alike(one: IqlCritics, other: IqlCritics, data: Transitions) -> float:
    """Correlation of both's advantages of the data's actions."""
    observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions)
    return round(float(np.corrcoef(one.advantages(observations, actions), other.advantages(observations, actions))[0, 1]), 4)


def decided(learner: UniO4, policies: list[GaussianPolicy], precision: Precision) -> list[tuple[float, bool]]:
    """(difference, better) of every member's step from one query to the next, on the same starts and noise."""
    members = learner.config.members
    learner.begin("decisions")
    with at_precision(learner, precision):
        estimates = learner.estimate(policies, learner.data.draw_observations((learner.config.gate.starts,), learner.generator))
    pairs = zip(estimates[members:], estimates[:-members], strict=True)
    decisions = [decide(candidate, incumbent, 0.0, learner.config.gate) for candidate, incumbent in pairs]
    return [(decision.difference, decision.accepted) for decision in decisions]


def study(name: str, steps: int, improvement: int, where: str) -> dict[str, Any]:
    """Everything about one task."""
    task = find_task(name)
    transitions = load(task, where).transitions
    learner, _ = fitted_learner(transitions, learning_rewards(task, transitions), config_of(task, "minutes", {}), 0, None, say)
    data = learner.transitions
    reference, curve = fitted(data, steps, "fp32", 0)
    curves, likeness = {"fp32, seed 0": curve}, {}
    others: list[tuple[Precision, int]] = [("bf16", 0), ("fp32", 1)]
    for precision, seed in others:
        critics, curves[f"{precision}, seed {seed}"] = fitted(data, steps, precision, seed)
        likeness[f"{precision}, seed {seed}"] = alike(reference, critics, data)
    policies = walk(learner, improvement)
    exact, rough = decided(learner, policies, "fp32"), decided(learner, policies, "bf16")
    differences = np.array([[one, other] for (one, _), (other, _) in zip(exact, rough, strict=True)])
    return {
        "task": task.name, "data": transitions.sha256, "bf16_in_hardware": multiplies_bf16(), "steps": steps, "curves": curves,
        "advantages_correlate_with_fp32_seed_0": likeness, "queries": len(exact),
        "same_decision": round(float(np.mean([one[1] == other[1] for one, other in zip(exact, rough, strict=True)])), 4),
        "differences_correlate": round(float(np.corrcoef(differences.T)[0, 1]), 5),
    }  # fmt: skip


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--improvement", type=int, default=1000)
    parser.add_argument("--data", default="runs/d4rl/data")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(study(wanted.task, wanted.steps, wanted.improvement, wanted.data)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
