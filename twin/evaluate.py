"""How well a policy follows a command on a world: many trials at once, fixed seeds, intervals."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.errors import QuadloopError
from common.statistics import mean_with_ci95
from robot import go1, safety
from robot.observation import GO1_LAYOUT, ObservationHistory, ObservationLayout, advance_gait, observe, trot_command
from robot.reward import reward_terms, total_reward
from twin.batch import INITIAL_SPREAD, BatchState, BatchTwin, InitialSpread
from twin.gait import GaitMeter
from twin.world import World

MAX_SPEED = 5.0  # m/s and rad/s, beyond anything a Go1 does


class Policy(Protocol):
    """Anything that maps observation histories (N, 290) float32 to action mean (N, 12) and std (12,) or (N, 12)."""

    def act(self, observation_history: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of the Gaussian over actions."""


NOT_MEASURED = ("returns", "lengths", "fell")
"""What a summary tells otherwise than as a mean"""


@dataclass(frozen=True)
class Trials:
    """What N trials of one command earned and how they walked, all (N,). Nothing is earned, and nothing measured, after a fall."""

    returns: Float64Array  # Table 3
    lengths: NDArray[np.int64]  # control steps before the fall or the time limit
    fell: NDArray[np.bool_]
    forward_speed: Float64Array  # m/s, mean body-frame vx
    forward_speed_error: Float64Array  # m/s, mean |vx - command|
    sideways_speed: Float64Array  # m/s, mean body-frame vy
    turning_rate: Float64Array  # rad/s, mean body-frame yaw rate
    distance: Float64Array  # m, along the body's forward axis
    gait_frequency: Float64Array  # Hz
    duty_factor: Float64Array  # share of a foot's cycle on the floor
    torque: Float64Array  # N m, root mean square over joints and time
    power: Float64Array  # W, mean of the sum over joints of |torque * joint_vel|
    action_rate: Float64Array  # mean |a_t - a_{t-1}|^2

    def summary(self, steps: int) -> dict[str, Any]:
        """The machine-readable result: means with 95 % intervals over trials."""
        measured = {field.name: mean_with_ci95(getattr(self, field.name)) for field in fields(self) if field.name not in NOT_MEASURED}
        return {
            "trials": len(self.returns), "steps": steps, "return": mean_with_ci95(self.returns), **measured, "falls": int(self.fell.sum()),
        }  # fmt: skip


class Walkers:
    """A batch of twins with the observation side of the control loop: history, gait clock, last action, reward."""

    def __init__(self, twin: BatchTwin, commands: Float64Array, layout: ObservationLayout = GO1_LAYOUT) -> None:
        self.twin = twin
        self.commands = commands  # (N, 15) unscaled
        self.layout = layout
        self.history = ObservationHistory((twin.num_robots,), layout)
        self.gait_index = np.zeros(twin.num_robots)
        self.last_action = np.zeros((twin.num_robots, go1.NUM_JOINTS))
        self.previous_action = self.last_action.copy()  # before the last
        self.state = twin.read()

    def reset(self, where: NDArray[np.bool_], rng: np.random.Generator, spread: InitialSpread = INITIAL_SPREAD) -> None:
        """Start new episodes for the robots selected by the mask (N,)."""
        self.twin.reset(where, rng, spread)
        self.history.reset(where)
        self.gait_index[where] = 0.0
        self.last_action[where] = 0.0
        self.state = self.twin.read()

    def frame(self, where: Any = slice(None)) -> NDArray[np.float32]:
        """What the robots selected by `where` measure now, (n, 58), scaled."""
        state = self.state
        return observe(
            state.gravity_b[where], self.commands[where], state.joint_pos[where], state.joint_vel[where], self.last_action[where],
            self.gait_index[where], self.layout,
        )  # fmt: skip

    def observe(self) -> NDArray[np.float32]:
        """Push the current frames; see `push`."""
        return self.push(self.frame())

    def push(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Append frames (N, 58) to the histories; returns them flattened (N, 290), a view valid until the next call."""
        return self.history.push(frame).reshape(self.twin.num_robots, -1)

    def walk(self, policy: Policy, noise: Float64Array | float = 0.0) -> tuple[BatchState, NDArray[np.floating[Any]]]:
        """One control period of a policy's mean actions plus `noise` (N, 12), clipped; returns the state before and the actions (N, 12)."""
        mean, _std = policy.act(self.observe())
        action = np.clip(mean + noise, -go1.ACTION_CLIP, go1.ACTION_CLIP)
        return self.act(action), action

    def act(self, action: NDArray[np.floating[Any]]) -> BatchState:
        """Apply actions (N, 12) for one control period and advance the gait clock; returns the state before the action."""
        before = self.state
        self.state, _ = self.twin.step(go1.joint_pos_target_of(action))
        self.gait_index[:] = advance_gait(self.gait_index, self.commands)
        self.previous_action, self.last_action = self.last_action, action.astype(np.float64)
        return before

    def fallen(self) -> NDArray[np.bool_]:
        """Which robots (N,) lie tilted beyond 60 degrees or have left what the physics can compute."""
        return np.asarray(safety.has_fallen(self.state.gravity_b) | self.twin.diverged)

    def reward(self, before: BatchState, action: NDArray[np.floating[Any]]) -> Float64Array:
        """Table 3's reward (N,) of the last step, from `before` by `action`."""
        now = self.state
        joint_acc = (now.joint_vel - before.joint_vel) / go1.CONTROL_DT
        terms = reward_terms(
            now.base_lin_vel_b, now.base_ang_vel_b, self.commands, now.joint_torque, now.joint_vel, joint_acc, action, self.previous_action
        )
        return np.asarray(total_reward(terms), dtype=np.float64)


def evaluate(
    policy: Policy,
    world: World,
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
    with BatchTwin(world, trials, rng=rng) as twin:
        walkers = Walkers(twin, np.tile(command, (trials, 1)), layout)
        walkers.reset(np.ones(trials, dtype=np.bool_), rng)
        return _walk(policy, walkers, steps)


def record_gait(
    policy: Policy, world: World, command: Float64Array, seed: int, steps: int, layout: ObservationLayout = GO1_LAYOUT
) -> tuple[Float64Array, Float64Array]:
    """Foot forces (steps, 4), N, and the gait index (steps,) of one robot walking with the mean action, for pictures."""
    forces, gait_index = np.zeros((steps, len(go1.LEGS))), np.zeros(steps)
    rng = np.random.default_rng(seed)
    with BatchTwin(world, 1, rng=rng) as twin:
        walkers = Walkers(twin, command[None], layout)
        walkers.reset(np.ones(1, dtype=np.bool_), rng)
        for step in range(steps):
            walkers.walk(policy)
            forces[step], gait_index[step] = walkers.state.foot_force[0], walkers.gait_index[0]
    return forces, gait_index


def _walk(policy: Policy, walkers: Walkers, steps: int) -> Trials:
    count = walkers.twin.num_robots
    up = np.ones(count, dtype=np.bool_)
    sums: dict[str, Float64Array] = {}
    lengths = np.zeros(count, dtype=np.int64)
    gait = GaitMeter(count)
    for _ in range(steps):
        before, action = walkers.walk(policy)
        for name, value in _figures(walkers, before, action).items():
            sums[name] = sums.get(name, 0.0) + up * value
        gait.watch(walkers.state.foot_force, up)
        lengths += up
        up &= ~walkers.fallen()
        if not up.any():
            break
    means = {name: value / np.maximum(lengths, 1) for name, value in sums.items() if name != "returns"}
    means["torque"] = np.sqrt(means["torque"])
    return Trials(
        returns=sums["returns"], lengths=lengths, fell=~up, distance=sums["forward_speed"] * go1.CONTROL_DT,
        gait_frequency=gait.frequency_hz(), duty_factor=gait.duty_factor(), **means,
    )  # fmt: skip


def _figures(walkers: Walkers, before: BatchState, action: NDArray[np.floating[Any]]) -> dict[str, Float64Array]:
    """What one control step adds to each of Trials' sums, (N,)."""
    state = walkers.state
    forward = state.base_lin_vel_b[:, 0]
    return {
        "returns": walkers.reward(before, action),
        "forward_speed": forward,
        "forward_speed_error": np.abs(forward - walkers.commands[:, 0]),
        "sideways_speed": state.base_lin_vel_b[:, 1],
        "turning_rate": state.base_ang_vel_b[:, 2],
        "torque": np.square(state.joint_torque).mean(axis=1),
        "power": np.abs(state.joint_torque * state.joint_vel).sum(axis=1),
        "action_rate": np.square(action - walkers.previous_action).sum(axis=1),
    }


def straight_command(*speeds: float) -> Float64Array:
    """Unscaled trot command (15,) for vx (m/s), then vy (m/s) and yaw rate (rad/s) if given; QuadloopError beyond MAX_SPEED."""
    if not 1 <= len(speeds) <= 3:
        raise QuadloopError(f"a command is one to three numbers (vx, vy, yaw rate), not {len(speeds)}")
    if not all(abs(speed) <= MAX_SPEED for speed in speeds):
        raise QuadloopError(f"the command {speeds} holds a value that is not a number or beyond {MAX_SPEED:g} m/s or rad/s")
    return trot_command(*speeds)
