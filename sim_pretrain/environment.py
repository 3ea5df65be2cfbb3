"""Thousands of twins that learn to walk: commands, episode borders and the training reward around twin.Walkers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.checks import POSITIVE, SHARE, Rule, at_least, require, require_rising
from robot import go1, safety
from robot.observation import trot_command
from sim_pretrain import reward
from twin.batch import BatchState, BatchTwin
from twin.evaluate import Walkers
from twin.terrain import Terrain

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class EnvironmentConfig:
    """The training task."""

    num_robots: int = 512
    """robots stepped at once"""
    episode_s: float = 20.0
    """time limit of an episode, s"""
    command_s: float = 5.0
    """a new command is drawn this often, s"""
    vx: tuple[float, float] = (-0.6, 1.6)
    """range of the commanded forward speed, m/s"""
    vy: tuple[float, float] = (-0.4, 0.4)
    """range of the commanded sideways speed, m/s"""
    yaw_rate: tuple[float, float] = (-0.8, 0.8)
    """range of the commanded turning rate, rad/s"""
    gait_frequency: tuple[float, float] = (2.8, 3.2)
    """range of the commanded gait frequency, Hz"""
    standing_share: float = 0.05
    """share of the commands that ask to trot on the spot"""
    curriculum_start: float = 0.3
    """share of the command ranges that is used at first"""
    curriculum_threshold: float = 0.75
    """the ranges grow while the mean of exp(-|v_xy - cmd|^2 / 0.25) is above this"""
    min_height: float = 0.14
    """a trunk lower than this above the floor ends the episode, m"""
    penalties: reward.PenaltyWeights = field(default_factory=reward.PenaltyWeights)
    """weights of the penalties"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "num_robots")
        require(self, Rule(f"at least a control step, {go1.CONTROL_DT} s", lambda value: value >= go1.CONTROL_DT), "episode_s", "command_s")
        require(self, POSITIVE, "gait_frequency")
        require(self, SHARE, "standing_share", "curriculum_start")
        for name in ("vx", "vy", "yaw_rate", "gait_frequency"):
            require_rising(self, name)


@dataclass(frozen=True)
class StepResult:
    """What one control step of N robots brought. `next_observations` belongs to the step, before any reset."""

    next_observations: NDArray[np.float32]  # (N, 290)
    rewards: Float64Array  # (N,)
    terminated: NDArray[np.bool_]  # (N,)
    truncated: NDArray[np.bool_]  # (N,)
    terms: dict[str, float]  # mean of each reward term


class WalkingEnvironment:
    """N robots on one terrain; `step` resets those whose episode has ended and `observations` is always current."""

    def __init__(self, terrain: Terrain, config: EnvironmentConfig, seed: int) -> None:
        self.config = config
        self.rng = np.random.default_rng(seed)
        self.count = config.num_robots
        self.twin = BatchTwin(terrain, self.count)
        self.walkers = Walkers(self.twin, np.tile(trot_command(), (self.count, 1)))
        self.range_share = config.curriculum_start
        # Staggered clocks: otherwise all robots would start and end their episodes in the same step.
        self.steps = self.rng.integers(0, round(config.episode_s / go1.CONTROL_DT), self.count)
        everyone = np.ones(self.count, dtype=np.bool_)
        self._draw_commands(everyone)
        self.walkers.reset(everyone, self.rng)
        self.observations = self.walkers.observe().copy()

    def step(self, action: NDArray[np.float32]) -> StepResult:
        """Apply actions (N, 12), reward them, reset the ended robots, and observe."""
        clipped = np.clip(action, -go1.ACTION_CLIP, go1.ACTION_CLIP).astype(np.float64)
        before = self.walkers.act(clipped)
        tracking, penalties = self._reward_terms(before, clipped)
        self.walkers.last_action = clipped
        self.steps += 1
        terminated = safety.has_fallen(self.walkers.state.gravity_b) | (self.walkers.state.base_pos_w[:, 2] < self.config.min_height)
        truncated = ~terminated & (self.steps * go1.CONTROL_DT >= self.config.episode_s)
        next_observations = self.walkers.observe().copy()
        self._start_anew(terminated | truncated, next_observations)
        terms = {name: float(value.mean()) for name, value in (tracking | penalties).items()}
        return StepResult(next_observations, reward.total_reward(tracking, penalties), terminated, truncated, terms)

    def widen_commands(self, tracking: float) -> None:
        """Use 2 % more of the command ranges if the commands are tracked well enough; call once an update."""
        if tracking > self.config.curriculum_threshold:
            self.range_share = min(1.0, self.range_share + 0.02)

    def close(self) -> None:
        """Stop the engine's threads."""
        self.twin.close()

    def _reward_terms(self, before: BatchState, action: Float64Array) -> tuple[dict[str, Float64Array], dict[str, Float64Array]]:
        walkers = self.walkers
        tracking = reward.tracking_terms(walkers.state, walkers.commands)
        penalties = reward.penalty_terms(
            walkers.state, before, walkers.commands, walkers.gait_index, action, walkers.last_action, self.config.penalties
        )
        return tracking, penalties

    def _start_anew(self, ended: NDArray[np.bool_], next_observations: NDArray[np.float32]) -> None:
        self.observations = next_observations
        self._draw_commands((self.steps % round(self.config.command_s / go1.CONTROL_DT) == 0) | ended)
        if not ended.any():
            return
        self.steps[ended] = 0
        self.walkers.reset(ended, self.rng)
        self.observations = next_observations.copy()
        self.observations[ended] = self.walkers.observe(ended)[ended]

    def _draw_commands(self, where: NDArray[np.bool_]) -> None:
        count = int(where.sum())
        if count == 0:
            return
        commands = np.tile(trot_command(), (count, 1))
        for slot, (low, high) in enumerate((self.config.vx, self.config.vy, self.config.yaw_rate)):
            commands[:, slot] = self.range_share * self.rng.uniform(low, high, count)
        commands[self.rng.random(count) < self.config.standing_share, :3] = 0.0
        commands[:, 4] = self.rng.uniform(*self.config.gait_frequency, count)
        self.walkers.commands[where] = commands
