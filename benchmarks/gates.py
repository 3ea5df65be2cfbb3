"""Which estimate tells when an improvement goes wrong? Prints JSON.

Uni-O4 on a task of D4RL without a gate: every `gate_period` steps each member's policy replaces its behavior policy, come what may. Each
policy on the way is measured in the environment, and estimated in the learned model on common start states and noise. For every
estimate: how often it tells the sign of a true change between two policies that follow one another, and where a gate that rests on it
(a one-sided 90 % test against the best so far, ending after three refusals) would have stopped each member.

python benchmarks/gates.py hopper-medium-expert [--seed 0] [--steps 1000] [--data runs/d4rl/data] [--cells runs/d4rl/cells]
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
from numpy.typing import NDArray
from torch import Tensor

from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.gate_record import MARGIN
from d4rl_bench.job import EVALUATION_SEED
from d4rl_bench.offline import PARTS, OfflineConfig, config_of
from d4rl_bench.online import SEED_STRIDE
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.scaling import scaled, scaler_of
from d4rl_bench.source import load
from d4rl_bench.task import Task, find_task
from learners.amq import Noise, draw_noise, imagine, per_start
from learners.cloning import clone_behavior
from learners.gate import Decision, GateConfig, decide
from learners.improvement import Improving
from learners.iql import IqlCritics
from learners.policy import GaussianPolicy, gaussian_kl, member, stack
from learners.uni_o4 import UniO4

STARTS = 64
HORIZONS = (20, 100, 300)
RULE = GateConfig(max_kl=None)
"""A one-sided 90 % test, whatever the distance."""
PATIENCE = 3
OTHER_SEED = 1_000_000
"""Beyond the learner's: of the critics that the improvement never sees."""


def say(part: str, done: int, total: int, _figures: dict[str, float]) -> None:
    """Progress, on standard error."""
    if done % 1000 == 0 or done == total:
        print(f"{part} {done:,}/{total:,}", file=sys.stderr, flush=True)


def walk(learner: UniO4, steps: int) -> list[GaussianPolicy]:
    """The policies of all members at the start and after every gate period, one ensemble after the other."""
    learner.begin("improvement")
    run = Improving(learner.starting_ensemble(), learner.config.learning_rate)
    policies = [run.outcome(index).policy for index in range(learner.config.members)]
    for step in range(1, steps + 1):
        learner.improvement_step(run.target, run.behavior, run.optimizer)
        run.step = step
        if step % learner.config.gate_period == 0:
            run.settle([Decision(0.0, 0.0, 0.0, True)] * learner.config.members)
            policies += [run.outcome(index).policy for index in range(learner.config.members)]
            say("improvement", step, steps, {})
    return policies


@torch.no_grad()
def estimates(learner: UniO4, other: IqlCritics, policies: Sequence[GaussianPolicy]) -> dict[str, Tensor]:
    """Name -> (P, STARTS), all on the same start states and noise."""
    learner.begin("estimates")
    ensemble, model = stack(policies), learner.model
    elites = len(model.elites)
    starts = learner.data.draw_observations((STARTS // elites * elites,), learner.generator)
    action_size = learner.data.all.actions.shape[-1]
    noise = draw_noise(max(HORIZONS), elites, len(starts), action_size, model.frame_size, learner.generator)
    found: dict[str, Tensor] = {}
    for acts, luck in (("sampled", noise), ("mean", Noise(torch.zeros_like(noise.actions), noise.frames))):
        sums = dict.fromkeys(("AM-Q", "AM-Q of other critics", "model return"), torch.zeros(()))
        for t, step in enumerate(imagine(ensemble, model, starts, luck, learner.config.action_limit), start=1):
            earned = learner.critics.q.minimum(step.states, step.actions), other.q.minimum(step.states, step.actions), step.rewards
            sums = {name: total + step.alive * values for (name, total), values in zip(sums.items(), earned, strict=True)}
            if t in HORIZONS:
                found |= {f"{name}, H {t}, {acts} actions": per_start(total) for name, total in sums.items()}
    return found


def verdict(values: Tensor, scores: NDArray[np.float64], margins: NDArray[np.float64]) -> dict[str, Any]:
    """Of an estimate (K, M, STARTS) of the policies with true scores (K, M)."""
    change, told = np.diff(scores, axis=0), np.diff(values.mean(-1).numpy(), axis=0)
    counted = change != 0
    same = (np.sign(change) == np.sign(told))[counted]
    near = (np.abs(change) <= margins[:-1])[counted]
    stops = [_stop(values[:, index]) for index in range(values.shape[1])]
    ends = np.array([scores[stop, index] for index, stop in enumerate(stops)])
    chosen = int(np.argmax([float(values[stop, index].mean()) for index, stop in enumerate(stops)]))
    return {
        "told": round(float(same.mean()), 3), "told_or_within_margin": round(float((same | near).mean()), 3),
        "stops": stops, "mean_score": round(float(ends.mean()), 1), "chosen_score": round(float(ends[chosen]), 1),
    }  # fmt: skip


def _stop(values: Tensor) -> int:
    """The index of the last policy that a gate accepts, of one member's (K, STARTS)."""
    best = 0
    for index in range(1, len(values)):
        if decide(values[index], values[best], 0.0, RULE).accepted:
            best = index
        elif index - best >= PATIENCE:
            break
    return best


def study(task: Task, config: OfflineConfig, seed: int, steps: int, data: str, parts: Path) -> dict[str, Any]:
    """Everything about one task and seed."""
    transitions = load(task, data).transitions
    scaler = scaler_of(transitions.observations)
    seen = scaled(learning_rewards(task, transitions).applied_to(transitions), scaler)
    start = clone_behavior(seen, config.uni_o4.members, config.uni_o4.action_limit, config.cloning, seed, say, parts)
    learner, other = (UniO4(seen, start, 1, config.uni_o4, its) for its in (seed, seed + OTHER_SEED))
    learner.fit(say, parts)
    other.fit_critics(say, parts)
    policies = walk(learner, steps)
    shape = -1, config.uni_o4.members
    evaluator = Evaluator(task, EVALUATION_SEED + SEED_STRIDE * seed)
    returns = np.array([evaluator.returns(mean_action(policy, scaler)).mean() for policy in policies]).reshape(shape)
    evaluator.close()
    scores, margins = (returns - task.random_return) / task.point, MARGIN * np.abs(returns) / task.point
    found = estimates(learner, other.critics, policies)
    return {
        "task": task.name, "seed": seed, "period": config.uni_o4.gate_period, "scores": scores.round(1).tolist(),
        "kl": np.round(_distances(learner, policies), 3).reshape(shape).tolist(),
        "start": round(float(scores[0].mean()), 1), "best": round(float(scores.max()), 1),
        "best_mean": round(float(scores.max(0).mean()), 1), "last": round(float(scores[-1].mean()), 1),
        "estimates": {name: verdict(values.reshape(*scores.shape, -1), scores, margins) for name, values in found.items()},
    }  # fmt: skip


@torch.no_grad()
def _distances(learner: UniO4, policies: Sequence[GaussianPolicy]) -> list[float]:
    """KL of each policy from the one that its member started as, nats."""
    states = learner.data.draw_observations((2048,), learner.generator)
    starts = [member(learner.starting_ensemble(), index) for index in range(learner.config.members)]
    return [
        float(gaussian_kl(policy(states), policy.log_std, first(states), first.log_std).mean())
        for policy, first in zip(policies, starts * (len(policies) // len(starts)), strict=True)
    ]


def main() -> int:
    """Print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--data", default="runs/d4rl/data")
    parser.add_argument("--cells", type=Path, default=Path("runs/d4rl/cells"))
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    task = find_task(wanted.task)
    found = study(task, config_of(task, "minutes", {}), wanted.seed, wanted.steps, wanted.data, wanted.cells / task.name / PARTS)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
