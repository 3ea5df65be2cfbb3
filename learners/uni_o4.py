"""Uni-O4's offline procedure (Algorithm 1, lines 8 to 21): from a data set and a starting ensemble to a better policy."""

from __future__ import annotations

import copy
import math
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.checks import NOT_NEGATIVE, POSITIVE, at_least, require, require_rising
from learners.advantage_test import FEWEST_EPISODES, HALF, AdvantageTest, compare
from learners.amq import Noise, amq, draw_noise
from learners.batches import NStepData, TensorData
from learners.disagreement import disagreement
from learners.dynamics import PAPER as PAPER_DYNAMICS
from learners.dynamics import DynamicsConfig, DynamicsEnsemble
from learners.gate import PAPER as PAPER_GATE
from learners.gate import GateConfig
from learners.gatekeeper import Gatekeeper
from learners.improvement import Improvement, Improving, Watch, nobody
from learners.iql import PAPER as PAPER_IQL
from learners.iql import IqlConfig, IqlCritics
from learners.policy import GaussianPolicy, average, gaussian_log_prob, member, stack, weights_hash
from learners.progress import Progress
from learners.surrogate import clipped_surrogate, normalise_advantages
from learners.training import descend, part_path, refuse_divergence, train
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
    roll_back: bool = False
    """a refused candidate begins anew from the last accepted policy; otherwise it goes on learning"""
    batch_size: int = 1024
    """states a step and member"""
    learning_rate: float = 1e-4
    """Adam's, for the policies"""
    clip_ratio: float = 0.25
    """eps of eq. 7"""
    action_limit: float = 10.0
    """the robot or the environment clips actions to +- this: critics and model see what it would do"""
    exploration_std: float | None = None
    """most that the actions' standard deviation is when the improvement begins; not set leaves it as recorded. The mean acts in the end,
    and where data were recorded with large deviations, what is good on average around it need not be good there"""
    reward_scale: float = 10.0
    """rewards are multiplied by this before any learning, so that values are of order one to ten"""
    iql: IqlConfig = field(default_factory=IqlConfig)
    """critics"""
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    """transition model"""
    gate: GateConfig = field(default_factory=GateConfig)
    """when a new policy may replace the old one"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "members", "gate_period", "patience", "batch_size")
        require(self, POSITIVE, "learning_rate", "clip_ratio", "action_limit", "exploration_std", "reward_scale")
        require(self, NOT_NEGATIVE, "disagreement_weight")
        require_rising(self, "gate_period", "improvement_steps")  # without a query nothing is ever accepted
        require(self.gate, at_least(self.dynamics.elites), "starts")  # each elite imagines its share of them


KL_STATES = 2048  # that a distance is averaged over
ELITE_SHARE = 0.05  # of the data, in random episodes and the end of one more, that the models are compared on and never trained on

PAPER = UniO4Config(
    members=4, improvement_steps=10_000, patience=100, batch_size=512, iql=PAPER_IQL, dynamics=PAPER_DYNAMICS, gate=PAPER_GATE
)
"""Learning rate and clip ratio are Table 5's, steps and gate_period section A.5.2's, four members section 5.3's, the batch is the released
code's. No source has reward_scale, which is ours, and none ends early: there are no more queries than `patience`."""


class UniO4:
    """Holds the parts of the procedure; `fit`, then `improve`.

    `start`, what recorded the data or its clones, is a single policy, which every member starts as, or an ensemble with `config.members`
    of them.
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
        self.model_losses = torch.full((config.dynamics.members,), math.nan)  # on rows that no model learnt from, once all have learnt

    def _seed_weights(self, part: str) -> None:
        """Of each part by itself: the weights that it begins with do not depend on another part's sizes."""
        torch.manual_seed(zlib.crc32(f"weights of {part} {self.seed}".encode()))

    def begin(self, part: str) -> None:
        """Seed a part of the procedure by itself: a resumed run that skips what is done draws what an uninterrupted one drew."""
        self.generator.manual_seed(zlib.crc32(f"{part} {self.seed}".encode()))

    def fit(self, progress: Progress, folder: Path | None = None) -> None:
        """Critics (eqs. 2 and 3) and transition models (eq. 5). `folder` keeps them: what an earlier run left there is gone on with."""
        self.fit_critics(progress, folder)
        self.fit_dynamics(progress, folder)

    def fit_critics(self, progress: Progress, folder: Path | None) -> None:
        """Eqs. 2 and 3, on all rows."""
        self.begin("critics")
        critics, config = self.critics, self.config.iql
        train(
            "critics", self._path(folder, "critics", iql=config), config.steps,
            lambda: critics.update(self.stretches.draw(config.batch_size, self.generator)), critics.learnt, self.generator, progress,
        )  # fmt: skip

    def fit_dynamics(self, progress: Progress, folder: Path | None) -> None:
        """Eq. 5, on all but ELITE_SHARE of the rows, which choose the elites."""
        self.begin("dynamics")
        model, config = self.model, self.config.dynamics
        order = torch.randperm(len(self.transitions.episode_starts), generator=self.generator).numpy()
        known, unknown = (torch.from_numpy(rows) for rows in self.transitions.split(ELITE_SHARE, order))
        train(
            "dynamics", self._path(folder, "dynamics", dynamics=config, history=model.history), config.steps,
            lambda: model.update(self.data.rows(known[torch.randint(len(known), (config.batch_size,), generator=self.generator)])),
            {"model": model, "optimizer": model.optimizer}, self.generator, progress,
        )  # fmt: skip
        self.model_losses = model.choose_elites(self.data.rows(unknown))

    def _path(self, folder: Path | None, part: str, **what: Any) -> Path | None:
        """Where a part is kept: its name follows from all that decides its weights."""
        common = {"data": self.transitions.sha256, "reward_scale": self.config.reward_scale, "seed": self.seed}
        return part_path(folder, part, common | what)

    def improve(self, progress: Progress, watch: Watch = nobody, folder: Path | None = None) -> Improvement:
        """Eq. 7 with eq. 25's disagreement; every gate_period steps a member's policy replaces its behavior policy if the gate agrees.

        If advantages do not pass `test_advantages`, nothing is improved. `folder` keeps it after every query: what an earlier run left
        there is gone on with. DivergedError, with nothing kept after the last query, if learning blew up.
        """
        config = self.config
        run = Improving(self.initial_ensemble(), config.learning_rate)
        wanted = config.gate.advantage_z
        test = self.test_advantages(progress, folder) if wanted is not None else None
        if wanted is not None and test is not None and not test.z > wanted:  # not a number does not pass
            return self.outcome(run, self.gatekeeper(run.behavior), test)
        self.begin("improvement")
        path = self._path(folder, "improvement", config=config, start=weights_hash(self.start), history=self.model.history)
        if path is not None and path.exists():
            run.restore(path, self.generator)
        gatekeeper = self.gatekeeper(run.behavior)
        last = config.improvement_steps - config.improvement_steps % config.gate_period  # what comes after a query is not accepted
        while run.step < last and run.idle < config.patience:
            figures = self.improvement_step(run.target, run.behavior, run.optimizer)
            run.step += 1
            if run.step % config.gate_period == 0:
                refuse_divergence("improvement", run.step, figures)
                decisions = gatekeeper.query(run.target)
                run.watched.append(watch(run.step, run.target, run.behavior))
                accepted = run.settle(decisions, config.roll_back)
                progress("improvement", run.step, config.improvement_steps, figures | {"accepted": float(accepted)})
                if path is not None:
                    run.save(path, self.generator)
        return self.outcome(run, gatekeeper, test)

    def outcome(self, run: Improving, gatekeeper: Gatekeeper, test: AdvantageTest | None = None) -> Improvement:
        """What the improvement ends with, the first of these that there is:

        1. the average of several improved members, if they began as one policy, the gate's budget held them near it, and the gate accepts
           the average; weights that are far apart have no average that acts like any of them;
        2. the improved member that AM-Q likes best;
        3. the start; of clones the one that AM-Q likes best.

        No estimate tells which member is the best, and the average depends on no member's luck (docs/gate.md).
        """
        improved = [index for index, steps in enumerate(run.accepted) if steps]
        if not improved and not self.start.members:
            return Improvement(copy.deepcopy(self.start), None, 0, run.queries, run.watched, test)
        decision = None
        if not self.start.members and self.config.gate.max_kl is not None and len(improved) > 1:
            merged = average(run.behavior, improved)
            decision = gatekeeper.beside_start(merged)
            if decision.accepted:
                return Improvement(merged, None, max(run.accepted), run.queries, run.watched, test, decision)
        among = improved or range(self.config.members)
        chosen = among[0] if len(among) == 1 else max(among, key=lambda index: float(gatekeeper.values[index].mean()))
        outcome = run.outcome(chosen, test, decision)
        return outcome if improved else replace(outcome, policy=member(self.start, chosen))

    def test_advantages(self, progress: Progress, folder: Path | None = None) -> AdvantageTest:
        """Critics of a random half of the episodes, with half the steps, judged by the other half. `folder` keeps them."""
        count = len(self.transitions.episode_starts)
        known_count = round(HALF * count)
        if count - known_count < FEWEST_EPISODES:  # before critics are learnt for nothing
            return AdvantageTest(0.0, math.nan, count - known_count)
        self._seed_weights("advantage test")
        self.begin("advantage test")
        order = torch.randperm(count, generator=self.generator).numpy()
        learnt_from = np.isin(self.transitions.episodes, order[:known_count])
        known, unseen = (self.transitions.only(np.flatnonzero(rows)) for rows in (learnt_from, ~learnt_from))
        config = replace(self.config.iql, steps=max(1, round(HALF * self.config.iql.steps)))
        stretches = NStepData(known, config.n_step, config.gamma, self.config.reward_scale)
        critics = IqlCritics(stretches.all, config)
        train(
            "advantage test", self._path(folder, "advantage_test", iql=config), config.steps,
            lambda: critics.update(stretches.draw(config.batch_size, self.generator)), critics.learnt, self.generator, progress,
        )  # fmt: skip
        return compare(critics, self.start, unseen, self.config.action_limit, self.generator)

    def initial_ensemble(self) -> GaussianPolicy:
        """What is improved at first (members,): `start` of each member, or the ensemble that it is, with at most `exploration_std`."""
        policies = copy.deepcopy(self.start) if self.start.members else stack([self.start] * self.config.members)
        policies.narrow(self.config.exploration_std)
        return policies

    def improvement_step(self, target: GaussianPolicy, behavior: GaussianPolicy, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """One gradient step of every member of `target` on eq. 7, with actions of `behavior`; returns named means."""
        config = self.config
        observations = self.data.draw_observations((config.batch_size,), self.generator)  # of all members: they are compared in them
        noise = torch.randn(*target.members, config.batch_size, behavior.log_std.shape[-1], generator=self.generator)
        actions, behavior_log_prob, _ = behavior.sample(observations, noise)
        done = actions.clamp(-config.action_limit, config.action_limit)
        advantages = normalise_advantages(self.critics.advantages(observations, done))
        mean = target(observations)
        log_prob = gaussian_log_prob(actions, mean, target.log_std)
        surrogate = clipped_surrogate(log_prob, behavior_log_prob, advantages, config.clip_ratio)
        diversity = disagreement(target.log_std, mean.clamp(-config.action_limit, config.action_limit), noise)
        descend(optimizer, -(surrogate + config.disagreement_weight * diversity).sum())
        return {"surrogate": float(surrogate.detach().mean()), "disagreement": float(diversity.detach().mean())}

    def gatekeeper(self, incumbents: GaussianPolicy) -> Gatekeeper:
        """A gatekeeper for members that have accepted `incumbents` so far.

        Its start states and noise depend on the seed alone, and drawing them changes nothing that is drawn afterwards.
        """
        drawn, gate = self.generator.get_state(), self.config.gate
        self.begin("queries")
        starts, noise = self.draw_luck(gate.starts, gate.horizon)
        states = self.data.draw_observations((KL_STATES,), self.generator)
        self.generator.set_state(drawn)
        return Gatekeeper(lambda policies: self._amq(policies, starts, noise), self.initial_ensemble(), incumbents, states, gate)

    def _amq(self, policies: GaussianPolicy, starts: Tensor, noise: Noise) -> Tensor:
        return amq(policies, self.critics, self.model, starts, noise, self.config.action_limit)

    def estimate(self, policies: list[GaussianPolicy], starts: Tensor) -> Tensor:
        """AM-Q of several policies from the same start states (N, O) and noise: (P, B), B the largest multiple of the elites in N."""
        return self._amq(stack(policies), *self._luck_of(starts, self.config.gate.horizon))

    def draw_luck(self, count: int, horizon: int) -> tuple[Tensor, Noise]:
        """Start states (B, O) from the data, and noise, of rollouts over `horizon` steps that are to be compared. B is the largest multiple
        of the elites up to `count`."""
        return self._luck_of(self.data.draw_observations((count,), self.generator), horizon)

    def _luck_of(self, starts: Tensor, horizon: int) -> tuple[Tensor, Noise]:
        elites, action_size = len(self.model.elites), self.data.all.actions.shape[-1]
        starts = starts[: len(starts) // elites * elites]
        return starts, draw_noise(horizon, elites, len(starts), action_size, self.model.frame_size, self.generator)
