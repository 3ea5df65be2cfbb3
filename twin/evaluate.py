"""How well a policy follows a command on a world: many trials at once, fixed seeds, intervals."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.errors import QuadloopError
from common.statistics import mean_with_ci95
from robot import go1
from robot.command import Slot, trot_command
from robot.observation import GO1_LAYOUT, ObservationLayout
from twin.batch import BatchState, BatchTwin
from twin.gait import GaitMeter
from twin.walkers import Policy, Walkers
from twin.world import World

MAX_SPEED = 5.0  # m/s and rad/s, beyond anything a Go1 does


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
        "forward_speed_error": np.abs(forward - walkers.commands[:, Slot.VX]),
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
