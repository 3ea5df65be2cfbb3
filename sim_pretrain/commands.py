"""Which commands the robots are given: a gait and posture drawn from ranges, and speeds from a grid that grows as it is mastered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, Float64Array
from common.arrays import take_over
from common.checks import POSITIVE, SHARE, at_least, between, require, require_rising
from robot.command import MAX_COMMAND, VELOCITY, Slot, trot_command

GAIT_AND_POSTURE = (
    "body_height", "gait_frequency", "gait_duration", "foot_swing_height", "pitch", "roll", "stance_width", "stance_length",
)  # fmt: skip

MIN_STEPS = 50  # control steps, 1 s: a command that was followed for less says nothing


@dataclass(frozen=True)
class CommandConfig:
    """Ranges of the commands. Phase, offset and bound stay those of a trot, as in all recordings."""

    vx: tuple[float, float] = (-1.0, 2.0)
    """forward speed, m/s"""
    vy: tuple[float, float] = (-0.5, 0.5)
    """sideways speed, m/s"""
    yaw_rate: tuple[float, float] = (-1.5, 1.5)
    """turning rate, rad/s"""
    body_height: tuple[float, float] = (-0.06, 0.03)
    """trunk above its usual height, m"""
    gait_frequency: tuple[float, float] = (2.0, 4.0)
    """steps of a foot in a second, Hz"""
    gait_duration: tuple[float, float] = (0.45, 0.6)
    """share of a cycle that a foot is on the floor"""
    foot_swing_height: tuple[float, float] = (0.04, 0.12)
    """apex of a foot's swing above the floor, m"""
    pitch: tuple[float, float] = (-0.2, 0.2)
    """rad, nose up positive"""
    roll: tuple[float, float] = (-0.1, 0.1)
    """rad, left side down positive"""
    stance_width: tuple[float, float] = (0.28, 0.38)
    """between left and right feet, m"""
    stance_length: tuple[float, float] = (0.36, 0.44)
    """between front and rear feet, m"""
    plain_share: float = 0.6
    """share of the commands with the usual gait and posture: the 3 Hz trot of the robot's logs"""
    straight_share: float = 0.4
    """share of the commands without sideways speed; of each half of them, turning or not"""
    standing_share: float = 0.05
    """share of the commands that ask to trot on the spot"""
    bins: tuple[int, int] = (12, 12)
    """cells of the grid over vx and yaw_rate"""
    easy_share: float = 0.35
    """share of the vx and yaw_rate ranges, around zero, that is asked at first"""
    mastered_lin_vel: float = 0.75
    """a cell is mastered, and its neighbours open, if the mean of exp(-|v_xy - cmd|^2 / 0.25) over a command exceeds this"""
    mastered_ang_vel: float = 0.65
    """and that of exp(-(w_z - cmd)^2 / 0.25) this"""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "gait_frequency", "gait_duration", "stance_width", "stance_length")
        require(self, SHARE, "gait_duration", "plain_share", "straight_share", "standing_share", "easy_share")
        require(self, SHARE, "mastered_lin_vel", "mastered_ang_vel")
        require(self, at_least(1), "bins")
        for name in ("vx", "vy", "yaw_rate", *GAIT_AND_POSTURE):
            require(self, between(-MAX_COMMAND, MAX_COMMAND), name)
            require_rising(self, name)


class Commander:
    """Draws commands and keeps account of how well they were followed: Walk These Ways' curriculum over vx and yaw_rate.

    Cells of the grid are open or closed. A robot that follows a command of a cell well opens the cells next to it.
    """

    def __init__(self, num_robots: int, config: CommandConfig) -> None:
        self.config = config
        self.edges = [np.linspace(*limits, bins + 1) for limits, bins in zip((config.vx, config.yaw_rate), config.bins, strict=True)]
        self.open = self._easy_cells()
        self.cell = np.zeros((num_robots, 2), dtype=np.int64)
        self.tracked = np.zeros((num_robots, 2))  # sums of the two tracking terms, each up to 1, since the command was given
        self.steps = np.zeros(num_robots)

    @property
    def open_share(self) -> float:
        """Share of the cells that are open."""
        return float(self.open.mean())

    def account(self, lin_vel: Float64Array, ang_vel: Float64Array) -> None:
        """How well (N,), 0 to 1, each robot followed its command in this control step."""
        self.tracked[:, 0] += lin_vel
        self.tracked[:, 1] += ang_vel
        self.steps += 1

    def draw(self, where: BoolArray, fell: BoolArray, rng: np.random.Generator) -> Float64Array:
        """New commands (n, 15) for the robots in `where` (N,); opens the cells next to those that robots have mastered without a fall."""
        self._open_neighbours(where & ~fell)
        self.tracked[where], self.steps[where] = 0.0, 0.0
        config, count = self.config, int(where.sum())
        commands = np.tile(trot_command(), (count, 1))
        fancy = rng.random(count) >= config.plain_share
        for name in GAIT_AND_POSTURE:
            low, high = getattr(config, name)
            commands[fancy, Slot[name.upper()]] = rng.uniform(low, high, int(fancy.sum()))
        cells = np.argwhere(self.open)
        self.cell[where] = chosen = cells[rng.integers(len(cells), size=count)]
        for axis, slot in enumerate((Slot.VX, Slot.YAW_RATE)):
            edges = self.edges[axis]
            commands[:, slot] = rng.uniform(edges[chosen[:, axis]], edges[chosen[:, axis] + 1])
        commands[:, Slot.VY] = rng.uniform(*config.vy, count)
        straight, standing = rng.random(count), rng.random(count) < config.standing_share
        commands[straight < config.straight_share, Slot.VY] = 0.0
        commands[straight < config.straight_share / 2, Slot.YAW_RATE] = 0.0
        commands[standing, VELOCITY] = 0.0
        # These were not asked for what their cell stands for, so they cannot master it.
        self.tracked[np.flatnonzero(where)[standing | (straight < config.straight_share / 2)]] = -np.inf
        return commands

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All that decides what is drawn next, but for the generator."""
        return {name: getattr(self, name).copy() for name in ("open", "cell", "tracked", "steps")}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state_dict` gave; ValueError or KeyError where it does not fit."""
        for name in ("open", "cell", "tracked", "steps"):
            take_over(getattr(self, name), state, name, finite=name != "tracked")  # what cannot be mastered has tracked -inf

    def _easy_cells(self) -> BoolArray:
        share = self.config.easy_share
        near = [(edges[:-1] <= max(share * edges[-1], edges[0])) & (edges[1:] >= min(share * edges[0], edges[-1])) for edges in self.edges]
        return np.asarray(near[0][:, None] & near[1][None])

    def _open_neighbours(self, where: BoolArray) -> None:
        means = self.tracked / np.maximum(self.steps, 1)[:, None]
        mastered = (
            where & (self.steps >= MIN_STEPS) & (means[:, 0] > self.config.mastered_lin_vel) & (means[:, 1] > self.config.mastered_ang_vel)
        )
        for offset in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            neighbours = np.clip(self.cell[mastered] + offset, 0, np.array(self.open.shape) - 1)
            self.open[neighbours[:, 0], neighbours[:, 1]] = True
