"""How well a policy follows a command on a terrain: many trials at once, fixed seeds, intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError
from common.statistics import mean_with_ci95
from robot import go1, safety
from robot.observation import GO1_LAYOUT, ObservationHistory, ObservationLayout, advance_gait, observe, trot_command
from robot.reward import reward_terms, total_reward
from twin.batch import INITIAL_SPREAD, BatchState, BatchTwin, InitialSpread
from twin.terrain import Terrain

Float64Array = NDArray[np.float64]

MAX_SPEED = 5.0  # m/s and rad/s, beyond anything a Go1 does


class Policy(Protocol):
    """Anything that maps observation histories (N, 290) float32 to action mean (N, 12) and std (12,) or (N, 12)."""

    def act(self, observation_history: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of the Gaussian over actions."""


@dataclass(frozen=True)
class Trials:
    """What N trials of one command earned. Nothing is earned after a fall."""

    returns: Float64Array  # (N,)
    lengths: NDArray[np.int64]  # (N,) control steps before the fall or the time limit
    fell: NDArray[np.bool_]  # (N,)
    forward_speed: Float64Array  # (N,) m/s, mean body-frame vx while up
    forward_speed_error: Float64Array  # (N,) m/s, mean |vx - command|
    distance: Float64Array  # (N,) m, along the body's forward axis

    def summary(self, steps: int) -> dict[str, Any]:
        """The machine-readable result: means with 95 % intervals over trials."""
        return {
            "trials": len(self.returns),
            "steps": steps,
            "return": mean_with_ci95(self.returns),
            "forward_speed": mean_with_ci95(self.forward_speed),
            "forward_speed_error": mean_with_ci95(self.forward_speed_error),
            "distance": mean_with_ci95(self.distance),
            "falls": int(self.fell.sum()),
        }


class Walkers:
    """A batch of twins with the observation side of the control loop: history, gait clock, last action, reward."""

    def __init__(self, twin: BatchTwin, commands: Float64Array, layout: ObservationLayout = GO1_LAYOUT) -> None:
        self.twin = twin
        self.commands = commands  # (N, 15) unscaled
        self.layout = layout
        self.history = ObservationHistory((twin.num_robots,), layout)
        self.gait_index = np.zeros(twin.num_robots)
        self.last_action = np.zeros((twin.num_robots, go1.NUM_JOINTS))
        self.state = twin.read()

    def reset(self, where: NDArray[np.bool_], rng: np.random.Generator, spread: InitialSpread = INITIAL_SPREAD) -> None:
        """Start new episodes for the robots selected by the mask (N,)."""
        self.twin.reset(where, rng, spread)
        self.history.reset(where)
        self.gait_index[where] = 0.0
        self.last_action[where] = 0.0
        self.state = self.twin.read()

    def observe(self, where: Any = ...) -> NDArray[np.float32]:
        """Push the current frame of the robots selected by `where` (all by default).

        Returns the flattened histories of all robots (N, 290), a view valid until the next call.
        """
        state = self.state
        frame = observe(state.gravity_b, self.commands, state.joint_pos, state.joint_vel, self.last_action, self.gait_index, self.layout)
        return self.history.push(frame, where).reshape(self.twin.num_robots, -1)

    def act(self, action: NDArray[np.floating[Any]]) -> BatchState:
        """Apply actions (N, 12) for one control period and advance the gait clock; returns the state before the action."""
        before = self.state
        self.state, _ = self.twin.step(go1.joint_pos_target_of(action))
        self.gait_index[:] = advance_gait(self.gait_index, self.commands)
        return before

    def reward(self, before: BatchState, action: NDArray[np.floating[Any]]) -> Float64Array:
        """Table 3's reward (N,) of the step from `before` by `action`; remembers the action for the next step."""
        now = self.state
        joint_acc = (now.joint_vel - before.joint_vel) / go1.CONTROL_DT
        terms = reward_terms(
            now.base_lin_vel_b, now.base_ang_vel_b, self.commands, now.joint_torque, now.joint_vel, joint_acc, action, self.last_action
        )
        return np.asarray(total_reward(terms), dtype=np.float64)


def evaluate(
    policy: Policy,
    terrain: Terrain,
    command: Float64Array,
    trials: int,
    seed: int,
    steps: int = 1000,
    layout: ObservationLayout = GO1_LAYOUT,
) -> Trials:
    """Walk `trials` robots with the mean action under one unscaled command (15,) for `steps` control steps or until they fall."""
    if trials < 1 or steps < 1:
        raise QuadloopError("an evaluation needs at least one trial and one step")
    rng = np.random.default_rng(seed)
    with BatchTwin(terrain, trials) as twin:
        walkers = Walkers(twin, np.tile(command, (trials, 1)), layout)
        walkers.reset(np.ones(trials, dtype=np.bool_), rng)
        return _walk(policy, walkers, steps)


def _walk(policy: Policy, walkers: Walkers, steps: int) -> Trials:
    count = walkers.twin.num_robots
    up = np.ones(count, dtype=np.bool_)
    returns, speed_sum, error_sum = np.zeros(count), np.zeros(count), np.zeros(count)
    lengths = np.zeros(count, dtype=np.int64)
    for _ in range(steps):
        mean, _std = policy.act(walkers.observe())
        action = np.clip(mean, -go1.ACTION_CLIP, go1.ACTION_CLIP)
        before = walkers.act(action)
        returns += up * walkers.reward(before, action)
        walkers.last_action = action.astype(np.float64)
        forward = walkers.state.base_lin_vel_b[:, 0]
        speed_sum += up * forward
        error_sum += up * np.abs(forward - walkers.commands[:, 0])
        lengths += up
        up &= ~safety.has_fallen(walkers.state.gravity_b)
        if not up.any():
            break
    divisor = np.maximum(lengths, 1)
    return Trials(returns, lengths, ~up, speed_sum / divisor, error_sum / divisor, speed_sum * go1.CONTROL_DT)


def straight_command(*speeds: float) -> Float64Array:
    """Unscaled trot command (15,) for vx (m/s), then vy (m/s) and yaw rate (rad/s) if given; QuadloopError beyond MAX_SPEED."""
    if not 1 <= len(speeds) <= 3:
        raise QuadloopError(f"a command is one to three numbers (vx, vy, yaw rate), not {len(speeds)}")
    if not all(abs(speed) <= MAX_SPEED for speed in speeds):
        raise QuadloopError(f"the command {speeds} holds a value that is not a number or beyond {MAX_SPEED:g} m/s or rad/s")
    return trot_command(*speeds)
