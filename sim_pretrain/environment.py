"""Thousands of twins that learn to walk: commands, episode borders, noise and the training reward around twin.Walkers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, Float32Array, Float64Array
from common.arrays import take_over
from common.checks import POSITIVE, between, require
from robot import go1
from robot.command import trot_command
from robot.observation import GO1_LAYOUT, foot_phases
from sim_pretrain import reward
from sim_pretrain.commands import CommandConfig, Commander
from sim_pretrain.nan_guard import NanGuard
from sim_pretrain.randomisation import NoiseConfig, RandomisationConfig, draw_worlds, noise_amplitude
from sim_pretrain.training_environment import StepResult
from twin.actuator import ActuatorConfig
from twin.batch import BatchState, BatchTwin
from twin.walkers import Walkers
from twin.world import World

BIAS_TIME_S = 0.3  # s, time constant of the averaged velocity error: a stride at 3 Hz
WEIGHT_N = go1.TOTAL_MASS * 9.81  # N, unit of foot forces for the critic
LONGEST_S = 600.0  # of an episode, and without a new command
CRITIC_SIZE = GO1_LAYOUT.frame_size + 3 + 3 + 1 + 4 + 4 + 3  # see WalkingEnvironment._for_critic


@dataclass(frozen=True)
class EnvironmentConfig:
    """The training task."""

    num_robots: int = 1024
    """robots stepped at once"""
    episode_s: float = 20.0
    """time limit of an episode, s"""
    command_s: float = 5.0
    """a new command is drawn this often, s"""
    min_height: float = 0.14
    """a trunk lower than this above the floor ends the episode, m"""
    commands: CommandConfig = field(default_factory=CommandConfig)
    """what is asked of the robots"""
    penalties: reward.PenaltyWeights = field(default_factory=reward.PenaltyWeights)
    """weights of the penalties"""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """noise on what the policy sees"""
    actuator: ActuatorConfig = field(default_factory=ActuatorConfig)
    """motors that are not ideal"""
    randomisation: RandomisationConfig = field(default_factory=RandomisationConfig)
    """robots that differ"""

    def __post_init__(self) -> None:
        require(self, between(1, 1_000_000), "num_robots")
        require(self, POSITIVE, "min_height")
        require(self, between(go1.CONTROL_DT, LONGEST_S, "s"), "episode_s", "command_s")


class WalkingEnvironment:
    """A TrainingEnvironment of N twins in one world, or in several that differ.

    Robots whose physics blows up are dumped to `dumps` and start anew.
    """

    critic_size = CRITIC_SIZE

    def __init__(self, world: World, config: EnvironmentConfig, seed: int, dumps: Path | None = None) -> None:
        self.config = config
        self.rng = np.random.default_rng(seed)
        self.num_robots = count = config.num_robots
        world = replace(world, actuator=config.actuator, pushes=config.randomisation.pushes)
        worlds = draw_worlds(config.randomisation, world, self.rng)
        self.twin = BatchTwin(world, count, variants=worlds, rng=self.rng)
        self.walkers = Walkers(self.twin, np.tile(trot_command(), (count, 1)))
        self.commander = Commander(count, config.commands)
        self.guard = NanGuard(dumps, worlds)
        self.amplitude = noise_amplitude(config.noise, GO1_LAYOUT)
        self.mean_error = np.zeros((count, 3))
        # Staggered clocks: otherwise all robots would start and end their episodes in the same step.
        self.steps = self.rng.integers(0, round(config.episode_s / go1.CONTROL_DT), count)
        self.total_steps = 0
        everyone = np.ones(count, dtype=np.bool_)
        self._command(everyone, ~everyone)
        self.walkers.reset(everyone, self.rng)
        self._observe()

    def step(self, actions: Float32Array) -> StepResult:
        """Apply actions (N, 12), reward them, reset the ended robots, and observe."""
        clipped = np.clip(actions, -go1.ACTION_CLIP, go1.ACTION_CLIP).astype(np.float64)
        before = self.walkers.act(clipped)
        tracking, penalties = self._reward_terms(before, clipped)
        self.steps += 1
        self.total_steps += 1
        terminated = self.walkers.fallen() | (self.walkers.state.base_pos_w[:, 2] < self.config.min_height)
        truncated = ~terminated & (self.steps * go1.CONTROL_DT >= self.config.episode_s)
        rewards = reward.total_reward(tracking, penalties)
        terms = {name: float(value.mean()) for name, value in (tracking | penalties).items()}
        terms |= {"open_commands": self.commander.open_share, "diverged": float(self.twin.diverged.sum())}
        self.guard.note(self.twin, self.total_steps)
        final = self._for_critic(truncated)
        self._go_on(terminated, truncated)
        return StepResult(rewards, terminated, truncated, final, terms)

    def state_dict(self) -> dict[str, Any]:
        """All that decides how the robots go on: physics, histories, commands, clocks, luck."""
        arrays = self._memory()
        arrays |= {f"twin/{name}": value for name, value in self.twin.state_dict().items()}
        arrays |= {f"commander/{name}": value for name, value in self.commander.state_dict().items()}
        return {name: value.copy() for name, value in arrays.items()} | {
            "total_steps": self.total_steps, "rng": json.dumps(self.rng.bit_generator.state),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken; KeyError or ValueError where it does not fit."""
        walkers = self.walkers
        self.twin.load_state_dict(_below("twin/", state))
        self.commander.load_state_dict(_below("commander/", state))
        for name, array in self._memory().items():
            take_over(array, state, name)
        self.total_steps = int(state["total_steps"])
        self.rng.bit_generator.state = json.loads(state["rng"])
        walkers.state = self.twin.read()
        self.observations = walkers.history.frames.reshape(self.num_robots, -1)
        self.critic_observations = self._for_critic()

    def close(self) -> None:
        """Stop the engine's threads."""
        self.twin.close()

    def _memory(self) -> dict[str, NDArray[Any]]:
        """The arrays beside the twin's and the commander's."""
        walkers = self.walkers
        return {
            "history": walkers.history.frames, "commands": walkers.commands, "gait_index": walkers.gait_index,
            "last_action": walkers.last_action, "mean_error": self.mean_error, "steps": self.steps,
        }  # fmt: skip

    def _reward_terms(self, before: BatchState, action: Float64Array) -> tuple[reward.Terms, reward.Terms]:
        walkers = self.walkers
        error = reward.velocity_error(walkers.state, walkers.commands)
        self.mean_error += go1.CONTROL_DT / BIAS_TIME_S * (error - self.mean_error)
        tracking = reward.tracking_terms(walkers.state, walkers.commands)
        self.commander.account(tracking["track_lin_vel"], 2 * tracking["track_ang_vel"])
        previous, weights = walkers.previous_action, self.config.penalties
        penalties = reward.penalty_terms(
            walkers.state, before, walkers.commands, walkers.gait_index, action, previous, self.mean_error, weights
        )
        return tracking, penalties

    def _go_on(self, terminated: BoolArray, truncated: BoolArray) -> None:
        """Reset the robots whose episode has ended, command whoever's turn it is, and observe."""
        ended = terminated | truncated
        self._command((self.steps % round(self.config.command_s / go1.CONTROL_DT) == 0) | ended, terminated)
        if ended.any():
            self.steps[ended] = 0
            self.walkers.reset(ended, self.rng)
        self._observe()

    def _command(self, where: BoolArray, fell: BoolArray) -> None:
        if where.any():
            self.walkers.commands[where] = self.commander.draw(where, fell, self.rng)
            self.mean_error[where] = 0.0

    def _observe(self) -> None:
        frame = self.walkers.frame()
        noise = self.amplitude * (2 * self.rng.random(frame.shape, dtype=np.float32) - 1)
        self.observations = self.walkers.push(frame + noise)
        self.critic_observations = self._for_critic(frame=frame)

    def _for_critic(self, where: Any = slice(None), frame: Float32Array | None = None) -> Float32Array:
        """(n, CRITIC_SIZE): the frame without noise, and what a robot cannot measure, of the robots selected by `where`.

        Trunk velocity and turning rate in the body frame, height, foot forces, foot phases' cosines, averaged velocity error.
        """
        walkers, state = self.walkers, self.walkers.state
        frame = walkers.frame(where) if frame is None else frame
        phases = foot_phases(walkers.gait_index[where], walkers.commands[where])
        more = (
            state.base_lin_vel_b[where], 0.25 * state.base_ang_vel_b[where], 10 * (state.base_pos_w[where, 2:] - reward.STANCE_HEIGHT),
            state.foot_force[where] / WEIGHT_N, np.cos(2 * np.pi * phases), 2 * self.mean_error[where],
        )  # fmt: skip
        return np.concatenate([frame, *more], axis=-1, dtype=np.float32)


def _below(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
