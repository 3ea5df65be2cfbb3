"""Uni-O4's offline procedure (Algorithm 1, lines 8 to 21): from a data set and a starting ensemble to a better policy."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learners.amq import amq, draw_noise
from learners.batches import NStepData, TensorData
from learners.dynamics import PAPER as PAPER_DYNAMICS
from learners.dynamics import DynamicsConfig, DynamicsEnsemble
from learners.gate import PAPER as PAPER_GATE
from learners.gate import Decision, GateConfig, decide
from learners.iql import PAPER as PAPER_IQL
from learners.iql import IqlConfig, IqlCritics
from learners.policy import GaussianPolicy, gaussian_kl, gaussian_log_prob, member, stack
from learners.progress import Progress
from learners.surrogate import clipped_surrogate, normalise_advantages
from learners.training import Stateful, part_path, train
from learners.transitions import Transitions


@dataclass(frozen=True)
class UniO4Config:
    """The whole offline stage. Defaults suit two cores and minutes; see PAPER."""

    members: int = 2
    """policies in the ensemble"""
    disagreement_weight: float = 0.1
    """alpha of eq. 25"""
    improvement_steps: int = 1_500
    """gradient steps of each policy"""
    gate_period: int = 100
    """improvement steps between two queries of the gate"""
    patience: int = 3
    """queries in a row without any acceptance after which the improvement ends"""
    batch_size: int = 1024
    """states a step and member"""
    learning_rate: float = 1e-4
    """Adam's, for the policies"""
    clip_ratio: float = 0.25
    """eps of eq. 7"""
    action_limit: float = 10.0
    """the robot or the environment clips actions to +- this: critics and model see what it would do"""
    reward_scale: float = 10.0
    """rewards are multiplied by this before any learning, so that values are of order one to ten"""
    iql: IqlConfig = field(default_factory=IqlConfig)
    """critics"""
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    """transition model"""
    gate: GateConfig = field(default_factory=GateConfig)
    """when a new policy may replace the old one"""


ELITE_SHARE = 0.05  # of the data, its last episodes, that the models are compared on and never trained on

PAPER = UniO4Config(
    members=4, improvement_steps=10_000, patience=100, batch_size=512, iql=PAPER_IQL, dynamics=PAPER_DYNAMICS, gate=PAPER_GATE
)
"""Table 5."""


@dataclass(frozen=True)
class Query:
    """What the gate said about one member at one improvement step."""

    step: int
    member: int
    decision: Decision


@dataclass(frozen=True)
class Improvement:
    """The outcome: the best accepted policy, and how it came about."""

    policy: GaussianPolicy
    chosen_member: int
    accepted_steps: int  # improvement steps behind the chosen policy; 0 if nothing was ever accepted
    queries: list[Query]


Watch = Callable[[int, GaussianPolicy, GaussianPolicy], None]
"""Called as watch(step, target, behavior) after every query, with the ensembles as they are then; for measurements."""


def _nobody(_step: int, _target: GaussianPolicy, _behavior: GaussianPolicy) -> None:
    return


class UniO4:
    """Holds the parts of the procedure; `fit`, then `improve`.

    `start` is a single policy, which every member starts as, or an ensemble with `config.members` of them.
    """

    def __init__(self, data: Transitions, start: GaussianPolicy, history: int, config: UniO4Config, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.transitions = data
        self.generator = torch.Generator()
        self.data = TensorData(data, config.reward_scale)
        self.stretches = NStepData(data, config.iql.n_step, config.iql.gamma, config.reward_scale)
        self.start = start
        observation_size, action_size = data.observations.shape[1], data.actions.shape[1]
        self._seed_weights("critics")
        self.critics = IqlCritics(self.data.all, config.iql)
        self._seed_weights("dynamics")
        self.model = DynamicsEnsemble(observation_size, action_size, history, config.dynamics)
        self.model.fit_normalisers(self.data.all)

    def _seed_weights(self, part: str) -> None:
        """By itself too: the weights that a part begins with do not depend on another part's sizes."""
        torch.manual_seed(zlib.crc32(f"weights of {part} {self.seed}".encode()))

    def begin(self, part: str) -> None:
        """Seed a part of the procedure by itself: a resumed run that skips what is done draws what an uninterrupted one drew."""
        self.generator.manual_seed(zlib.crc32(f"{part} {self.seed}".encode()))

    def fit(self, progress: Progress, folder: Path | None = None) -> None:
        """Critics (eqs. 2 and 3) and transition models (eq. 5). `folder` keeps them: what an earlier run left there is gone on with."""
        self._fit_critics(progress, folder)
        self._fit_dynamics(progress, folder)

    def _fit_critics(self, progress: Progress, folder: Path | None) -> None:
        self.begin("critics")
        critics, config = self.critics, self.config.iql
        learnt: dict[str, Stateful] = {"v": critics.v, "q": critics.q, "q_target": critics.q_target, "optimizer": critics.optimizer}
        train(
            "critics", self._path(folder, "critics", iql=config), config.steps,
            lambda: critics.update(self.stretches.draw(config.batch_size, self.generator)), learnt, self.generator, progress,
        )  # fmt: skip

    def _fit_dynamics(self, progress: Progress, folder: Path | None) -> None:
        """On all but the last rows, which choose the elites."""
        self.begin("dynamics")
        model, config = self.model, self.config.dynamics
        known = max(1, round((1 - ELITE_SHARE) * len(self.data)))
        train(
            "dynamics", self._path(folder, "dynamics", dynamics=config, history=model.history), config.steps,
            lambda: model.update(self.data.rows(torch.randint(known, (config.batch_size,), generator=self.generator))),
            {"model": model, "optimizer": model.optimizer}, self.generator, progress,
        )  # fmt: skip
        model.choose_elites(self.data.rows(torch.arange(min(known, len(self.data) - 1), len(self.data))))

    def _path(self, folder: Path | None, part: str, **what: Any) -> Path | None:
        """Where a part is kept: its name follows from all that decides its weights."""
        if folder is None:
            return None
        common = {"data": self.transitions.sha256, "reward_scale": self.config.reward_scale, "seed": self.seed}
        return part_path(folder, part, common | what)

    def improve(self, progress: Progress, watch: Watch = _nobody) -> Improvement:
        """Eq. 7 with eq. 25's disagreement; every gate_period steps a member's policy replaces its behavior policy if the gate agrees."""
        self.begin("improvement")
        config = self.config
        target, behavior = self._starting_ensemble(), self._starting_ensemble()
        optimizer = torch.optim.Adam(target.parameters(), lr=config.learning_rate, fused=True)
        accepted = [0] * config.members
        queries: list[Query] = []
        idle = 0
        for step in range(1, config.improvement_steps + 1):
            figures = self.improvement_step(target, behavior, optimizer)
            if step % config.gate_period:
                continue
            decisions = self._query(target, behavior)
            queries += [Query(step, index, decision) for index, decision in enumerate(decisions)]
            for index, decision in enumerate(decisions):
                if decision.accepted:
                    _copy_member(target, behavior, index)
                    accepted[index] = step
            progress("improvement", step, config.improvement_steps, figures | {"accepted": float(sum(d.accepted for d in decisions))})
            watch(step, target, behavior)
            idle = 0 if any(decision.accepted for decision in decisions) else idle + 1
            if idle >= config.patience:
                break
        chosen = self._best_member(behavior)
        return Improvement(member(behavior, chosen), chosen, accepted[chosen], queries)

    def _starting_ensemble(self) -> GaussianPolicy:
        return copy.deepcopy(self.start) if self.start.members else stack([self.start] * self.config.members)

    def improvement_step(self, target: GaussianPolicy, behavior: GaussianPolicy, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """One gradient step of every member of `target` on eq. 7, with actions of `behavior`; returns named means."""
        config = self.config
        observations = self.data.draw_observations((config.batch_size,), self.generator)  # of all members: they are compared in them
        noise = torch.randn(*target.members, config.batch_size, behavior.log_std.shape[-1], generator=self.generator)
        actions, behavior_log_prob, _ = behavior.sample(observations, noise)
        done = actions.clamp(-config.action_limit, config.action_limit)
        advantages = normalise_advantages(self.critics.advantages(observations.expand(*target.members, -1, -1), done))
        mean = target(observations)
        log_prob = gaussian_log_prob(actions, mean, target.log_std)
        surrogate = clipped_surrogate(log_prob, behavior_log_prob, advantages, config.clip_ratio)
        diversity = disagreement(target.log_std, mean, noise)
        optimizer.zero_grad(set_to_none=True)
        (-(surrogate + config.disagreement_weight * diversity).sum()).backward()
        optimizer.step()
        return {"surrogate": float(surrogate.detach().mean()), "disagreement": float(diversity.detach().mean())}

    def _query(self, target: GaussianPolicy, behavior: GaussianPolicy) -> list[Decision]:
        config, count = self.config, self.config.members
        estimates = self.estimate([*(member(target, i) for i in range(count)), *(member(behavior, i) for i in range(count))])
        observations = self.data.draw_observations((2048,), self.generator)
        with torch.no_grad():
            kl = gaussian_kl(target(observations), target.log_std, self.start(observations), self.start.log_std).mean(-1)
        return [decide(estimates[i], estimates[count + i], float(kl[i]), config.gate) for i in range(count)]

    def estimate(self, policies: list[GaussianPolicy], starts: Tensor | None = None) -> Tensor:
        """AM-Q of several policies on the same start states (from the data if not given) and noise: (P, B), B a multiple of the elites."""
        elites, gate = len(self.model.elites), self.config.gate
        if starts is None:
            starts = self.data.draw_observations((gate.starts,), self.generator)
        starts = starts[: len(starts) // elites * elites]
        action_size = self.data.all.actions.shape[-1]
        noise = draw_noise(gate.horizon, elites, len(starts), action_size, self.model.frame_size, self.generator)
        return amq(stack(policies), self.critics.q, self.model, starts, noise, self.config.action_limit)

    def _best_member(self, behavior: GaussianPolicy) -> int:
        if self.config.members == 1:
            return 0
        return int(self.estimate([member(behavior, index) for index in range(self.config.members)]).mean(-1).argmax())


def disagreement(log_std: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
    """Eq. 25's KL(pi_i || f), f = max_j pi_j / Z, of every member (M,): 0 where all are alike, log M where none overlap.

    From means (M, B, A) in the same B states, log_std (M, 1, A) and one action of each member in each state, a_i = mean_i + std_i noise_i:
    E_{a ~ pi_i}[log pi_i(a) - log max_j pi_j(a)] + log Z, with Z = M E_{a ~ mixture}[max_j pi_j(a) / sum_j pi_j(a)].
    Z is not constant and must not be left out: without it members that begin to differ are drawn together again.
    """
    count = len(mean)
    actions = mean + torch.exp(log_std) * noise
    log_probs = gaussian_log_prob(actions[None], mean[:, None], log_std[:, None])  # (density of j, action of i, B)
    best = log_probs.amax(0)
    overlap = best - (torch.logsumexp(log_probs, 0) - math.log(count))
    log_z = torch.logsumexp(overlap, 0) - math.log(count)
    own = log_probs.diagonal().movedim(-1, 0)
    return (own - best + log_z).mean(-1)


@torch.no_grad()
def _copy_member(source: GaussianPolicy, target: GaussianPolicy, index: int) -> None:
    for to, of in zip(target.parameters(), source.parameters(), strict=True):
        to[index] = of[index]
