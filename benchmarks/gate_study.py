"""An improvement without a gate, and what every estimate would have said about it: what `gates.py` and `twin_gates.py` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shared import say
from torch import Tensor

from common.result import json_value
from learners.amq import Noise, imagine, per_start
from learners.gate import Decision, GateConfig, decide
from learners.improvement import Improvement, Improving
from learners.iql import IqlCritics
from learners.policy import GaussianPolicy, stack
from learners.precision import Precision
from learners.uni_o4 import UniO4

STARTS = 64
"""Rounded down to a multiple of the elites."""
_NOBODY = 1e-30  # where all rollouts have ended: their mean is 0 of 0
RULE = GateConfig(max_kl=None)
"""A one-sided 90 % test, whatever the distance."""
PATIENCE = 3
OTHER_SEED = 1_000_000
"""Beyond the learner's: of the critics that the improvement never sees."""
AGAIN = "measured again"
"""The same policies in other episodes: how often the truth itself, as it is measured, tells a sign."""
BUDGETS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.1, 0.15, 0.2, 0.3)
"""Nats from the starting policy for each dimension of the action."""


def walk(learner: UniO4, steps: int) -> list[GaussianPolicy]:
    """The policies of all members at the start and after every gate period, one ensemble after the other."""
    learner.begin("improvement")
    run = Improving(learner.initial_ensemble(), learner.config.learning_rate)
    policies = [run.outcome(index).policy for index in range(learner.config.members)]
    for step in range(1, steps + 1):
        learner.improvement_step(run.target, run.behavior, run.optimizer)
        run.step = step
        if step % learner.config.gate_period == 0:
            run.settle([Decision(0.0, 0.0, 0.0, True)] * learner.config.members)
            policies += [run.outcome(index).policy for index in range(learner.config.members)]
            say("improvement", step, steps, {})
    return policies


@contextmanager
def at_precision(learner: UniO4, precision: Precision) -> Iterator[None]:
    """Of the matrix products of critics, models and, while they imagine, policies; as they were again afterwards."""
    critics, model = learner.critics.config, learner.model.config
    learner.critics.config, learner.model.config = replace(critics, precision=precision), replace(model, precision=precision)
    try:
        yield
    finally:
        learner.critics.config, learner.model.config = critics, model


def by_default(improvement: Improvement, score: float) -> dict[str, Any]:
    """What came of the improvement with the default gate, whose policy has this true score; `member` is None for the members' average."""
    what = {"member": improvement.chosen_member, "accepted_steps": improvement.accepted_steps}
    return {"default": {"score": round(score, 2)} | what | {"advantage_test": json_value(improvement.advantage_test)}}


def unseen_critics(learner: UniO4, folder: Path) -> IqlCritics:
    """Critics of the same data and another seed."""
    learner.fit_critics(say, folder)
    return learner.critics


@torch.no_grad()
def estimates(learner: UniO4, other: IqlCritics | None, policies: Sequence[GaussianPolicy], horizons: Sequence[int]) -> dict[str, Tensor]:
    """Name -> (P, STARTS), all on the same start states and noise. `other` are critics that the improvement never saw."""
    learner.begin("estimates")
    ensemble, model = stack(policies), learner.model
    starts, noise = learner.draw_luck(STARTS, max(horizons))
    critics = {"AM-Q": learner.critics} | ({"AM-Q of other critics": other} if other else {})
    found: dict[str, Tensor] = {}
    for acts, luck in (("sampled", noise), ("mean", Noise(torch.zeros_like(noise.actions), noise.frames))):
        sums = dict.fromkeys((*critics, "model return"), torch.zeros(()))
        for t, step in enumerate(imagine(ensemble, model, starts, luck, learner.config.action_limit), start=1):
            earned = {name: each.minimum(step.states, step.actions) for name, each in critics.items()} | {"model return": step.rewards}
            sums = {name: total + step.alive * earned[name] for name, total in sums.items()}
            if t in horizons:
                found |= {f"{name}, H {t}, {acts} actions": per_start(total) for name, total in sums.items()}
    return found


@torch.no_grad()
def released(learner: UniO4, policies: Sequence[GaussianPolicy], horizons: Sequence[int]) -> dict[str, Tensor]:
    """Name -> (P, 1): AM-Q as the released code has it, for comparison.

    Actions are clamped to +-1 whatever the robot does; each step counts the mean over the rollouts that still go on, so that an early fall
    costs nothing; every policy meets start states and noise of its own.
    """
    learner.begin("released")
    found: dict[str, list[Tensor]] = {f"AM-Q as released, H {horizon}": [] for horizon in horizons}
    for policy in policies:
        starts, noise = learner.draw_luck(STARTS, max(horizons))
        total = torch.zeros(1)
        for t, step in enumerate(imagine(stack([policy]), learner.model, starts, noise, action_limit=1.0), start=1):
            total = total + (step.alive * learner.critics.minimum(step.states, step.actions)).sum() / step.alive.sum().clamp(min=_NOBODY)
            if t in horizons:
                found[f"AM-Q as released, H {t}"].append(total)
    return {name: torch.stack(values) for name, values in found.items()}


def distances(learner: UniO4, policies: Sequence[GaussianPolicy]) -> list[float]:
    """KL of each policy from the one that its member started as, in the states of the gate: nats for each dimension of the action."""
    keeper, count = learner.gatekeeper(learner.initial_ensemble()), learner.config.members
    return [float(far) for begin in range(0, len(policies), count) for far in keeper.distances(stack(policies[begin : begin + count]))]


def means(found: dict[str, Tensor], shape: tuple[int, int]) -> dict[str, list[list[float]]]:
    """What each estimate says of each policy, (K, M) as `shape` says, over the start states."""
    return {
        name: [[float(f"{value:.5g}") for value in row] for row in values.mean(-1).reshape(shape).tolist()]
        for name, values in found.items()
    }


def verdicts(found: dict[str, Tensor], scores: NDArray[np.float64], kl: NDArray[np.float64]) -> dict[str, Any]:
    """What came of the improvement, what a gate on each estimate would have made of it, and what each budget: scores and kl are (K, M)."""
    return {
        "scores": scores.round(2).tolist(), "kl": kl.round(4).tolist(),
        "start": round(float(scores[0].mean()), 2), "best": round(float(scores.max()), 2),
        "best_mean": round(float(scores.max(0).mean()), 2), "last": round(float(scores[-1].mean()), 2),
        "estimates": {name: _of_estimate(values.reshape(*scores.shape, -1), scores) for name, values in found.items()},
        "budgets": {str(budget): _of_budget(kl <= budget, scores) for budget in BUDGETS},
    }  # fmt: skip


def _of_estimate(values: Tensor, scores: NDArray[np.float64]) -> dict[str, Any]:
    """Where a gate on the policies' values (K, M, STARTS) ends each member, and the true score there."""
    stops = [_stop(values[:, index]) for index in range(values.shape[1])]
    ends = np.array([scores[stop, index] for index, stop in enumerate(stops)])
    return {"stops": stops, "mean_score": round(float(ends.mean()), 2)}


def _stop(values: Tensor) -> int:
    """The index of the last policy that a gate accepts, of one member's (K, STARTS); of (K, 1) a gate without a test."""
    best = 0
    for index in range(1, len(values)):
        paired = values.shape[-1] > 1
        if decide(values[index], values[best], 0.0, RULE).accepted if paired else values[index] > values[best]:
            best = index
        elif index - best >= PATIENCE:
            break
    return best


def _of_budget(within: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Each member stops at its last policy before the first that is too far; within is (K, M)."""
    stops = np.where(within.all(0), len(within), (~within).argmax(0)) - 1
    ends = np.take_along_axis(scores, stops[None], axis=0)[0]
    return {"stops": stops.tolist(), "mean_score": round(float(ends.mean()), 2)}
