"""Uni-O4's offline phase on a task's data: clone the behavior, then the same procedure as the robot's (learners/uni_o4.py)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.config import merged, with_overrides
from common.result import json_value
from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.finetuning import LEARNER
from d4rl_bench.online import Learner
from d4rl_bench.rewards import LearningRewards
from d4rl_bench.scaling import Scaler, scaled, scaler_of
from d4rl_bench.task import Task
from learners.checkpoint import save_checkpoint
from learners.cloning import PAPER as PAPER_CLONING
from learners.cloning import CloningConfig, clone_behavior
from learners.dynamics import DynamicsConfig
from learners.gate import GateConfig
from learners.iql import IqlConfig
from learners.policy import GaussianPolicy, member
from learners.progress import Progress
from learners.transitions import Transitions
from learners.uni_o4 import PAPER as PAPER_UNI_O4
from learners.uni_o4 import UniO4, UniO4Config


@dataclass(frozen=True)
class OfflineConfig:
    """Behavior cloning and improvement. What a task's YAML file says differs from this is put over it."""

    cloning: CloningConfig = field(default_factory=CloningConfig)
    """the starting ensemble"""
    uni_o4: UniO4Config = field(
        default_factory=lambda: UniO4Config(
            members=4, batch_size=512, action_limit=1.0, exploration_std=0.3, reward_scale=1.0,
            iql=IqlConfig(steps=10_000, n_step=1, polyak=0.02, precision="fp32"),
            dynamics=DynamicsConfig(steps=5_000, hidden=(200, 200, 200, 200), precision="fp32"),
            gate=GateConfig(advantage_z=3.0),
        )
    )  # fmt: skip
    """the learner; it looks around the mean as an online phase does, and asks a strict question before anything (docs/gate.md)"""


PRESETS = {
    "smoke": OfflineConfig(
        cloning=CloningConfig(steps=200, batch_size=64, hidden=(32, 32)),
        uni_o4=UniO4Config(
            members=2, improvement_steps=40, gate_period=20, batch_size=64, action_limit=1.0, reward_scale=1.0,
            iql=IqlConfig(steps=100, batch_size=64, q_hidden=(32, 32), v_hidden=(32, 32), n_step=1, precision="fp32"),
            dynamics=DynamicsConfig(steps=100, batch_size=64, members=2, elites=2, hidden=(32, 32), precision="fp32"),
            gate=GateConfig(horizon=5, starts=16),
        ),
    ),
    "minutes": OfflineConfig(),
    "paper": OfflineConfig(
        cloning=PAPER_CLONING,
        uni_o4=replace(
            PAPER_UNI_O4, action_limit=1.0, reward_scale=1.0, iql=replace(PAPER_UNI_O4.iql, steps=2_000_000, precision="fp32"),
            dynamics=replace(PAPER_UNI_O4.dynamics, hidden=(200, 200, 200, 200), precision="fp32"),
        ),
    ),
}  # fmt: skip
"""By what they take: a test, minutes on two cores, or as the paper. In fp32, so that numbers depend less on the processor."""


def config_of(task: Task, preset: str, overrides: dict[str, Any]) -> OfflineConfig:
    """The preset, what the task's family differs in (not for `smoke`, whose sizes are its point), and dotted `overrides` over both.

    `paper` also takes the family's H of AM-Q; the other presets keep the gate's default, which a budget makes safe.
    """
    config = PRESETS[preset]
    if preset != "smoke":
        config = merged(config, task.settings, "")
    if preset == "paper":
        config = replace(config, uni_o4=replace(config.uni_o4, gate=replace(config.uni_o4.gate, horizon=task.amq_horizon)))
    return with_overrides(config, overrides)


PARTS = "parts"


@dataclass(frozen=True)
class OfflineResult:
    """What the phase leaves for an online one, and the true scores along the way, which no decision knew."""

    policy: GaussianPolicy
    scaler: Scaler
    curve: list[tuple[int, float]]  # (improvement steps, mean score of the members' behavior policies)
    evidence: dict[str, Any]


def fitted_learner(
    data: Transitions, rewards: LearningRewards, config: OfflineConfig, seed: int, parts: Path | None, progress: Progress
) -> tuple[UniO4, Scaler]:
    """Uni-O4 on raw `data`, from clones of it, with its critics and models; `parts`, if given, keeps what is learnt.
    Beside it the scaler of its observations."""
    scaler = scaler_of(data.observations)
    seen = scaled(rewards.applied_to(data), scaler)
    start = clone_behavior(seen, config.uni_o4.members, config.uni_o4.action_limit, config.cloning, seed, progress, parts)
    learner = UniO4(seen, start, history=1, config=config.uni_o4, seed=seed)
    learner.fit(progress, parts)
    return learner, scaler


def run_uni_o4(
    data: Transitions, rewards: LearningRewards, config: OfflineConfig, seed: int, folder: Path, evaluator: Evaluator, progress: Progress
) -> OfflineResult:
    """From raw `data`, with the rewards that are learnt from. What is learnt on the way is kept in PARTS beside `folder`: the cells of
    one task that differ in their gate or in their ensemble share their critics."""
    learner, scaler = fitted_learner(data, rewards, config, seed, folder.parent / PARTS, progress)
    members = range(config.uni_o4.members)
    clones = [evaluator.score(mean_action(member(learner.start, index), scaler)) for index in members]

    def watch(_step: int, target: GaussianPolicy, _behavior: GaussianPolicy) -> list[float]:
        return [evaluator.score(mean_action(member(target, index), scaler)) for index in members]

    improvement = learner.improve(progress, watch, folder)
    steps = dict.fromkeys(query.step for query in improvement.queries)
    scores = dict(zip(steps, improvement.watched, strict=True))
    left = Learner(improvement.policy, learner.critics.v, scaler, config.uni_o4.reward_scale * rewards.scale, rewards.shift)
    save_checkpoint(folder / LEARNER, left.state_dict())
    queries = [
        json_value(query.decision) | {"step": query.step, "member": query.member, "score": scores[query.step][query.member]}
        for query in improvement.queries
    ]
    evidence = {
        "clones": clones, "chosen_member": improvement.chosen_member, "accepted_steps": improvement.accepted_steps, "queries": queries,
        "advantage_test": json_value(improvement.advantage_test),
    }  # fmt: skip
    curve = _curve(clones, queries)
    return OfflineResult(improvement.policy, scaler, curve, evidence)


def _curve(clones: list[float], queries: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """The mean score of the members' behavior policies after each query: a candidate's from when it was accepted."""
    current, curve = list(clones), [(0, float(np.mean(clones)))]
    for step in dict.fromkeys(query["step"] for query in queries):
        for query in queries:
            if query["step"] == step and query["accepted"]:
                current[query["member"]] = query["score"]
        curve.append((step, float(np.mean(current))))
    return curve
