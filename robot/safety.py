"""The limits that every joint target passes, over any batch shape: the robot and the vectorised twin run the same lines.

Comparisons are written so that a NaN counts as unsafe. Finiteness is checked before anything is clipped, because clipping
would turn an infinite target into a plausible one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.array_types import BoolArray, Float64Array, FloatArray
from robot import go1

# Deviation from 1 of a usable quaternion's length; float32 sensors stay within 1e-6.
QUATERNION_TOLERANCE = 0.02
# rad. 85 % of the recorded real runs end tilted beyond 60 degrees.
MAX_TILT_RAD = math.radians(60)
# s. Three control periods of 0.02 s without a new state.
MAX_STATE_AGE_S = 0.06
# s. How far a state's stamp may lie ahead of the caller's clock: time resolution, not a real lead.
MAX_CLOCK_SKEW_S = 0.001
# Control periods in a row that the policy may miss its deadline. A busy computer misses one or two, a policy that is too slow all.
MAX_OVERRUNS = 10
# rad. How far outside its limits a joint may be measured; the recorded real runs stay within 0.022 rad.
MAX_JOINT_EXCESS_RAD = 0.2
# Share of go1.JOINT_VEL_LIMIT beyond which a measured velocity is no velocity; the recorded real runs reach 1.02.
MAX_JOINT_VEL_RATIO = 3.0
# Speed of the target relative to go1.JOINT_VEL_LIMIT. A target leads its joint: at ratio 1 the limit would change 8 % of the
# calf steps of the recorded real runs, at ratio 3 two of 460,000 (their largest steps: 0.61, 0.97, 1.23 rad for hip, thigh, calf).
TARGET_SPEED_RATIO = 3.0

# What a joint may be measured at: positions from and to, rad, and the fastest, rad/s.
_PLAUSIBLE = (
    (go1.JOINT_POS_LOWER - MAX_JOINT_EXCESS_RAD).tolist(),
    (go1.JOINT_POS_UPPER + MAX_JOINT_EXCESS_RAD).tolist(),
    (MAX_JOINT_VEL_RATIO * go1.JOINT_VEL_LIMIT).tolist(),
)


class LimitFlags(NamedTuple):
    """Which limits changed a target, each (...) bool, one value a robot."""

    non_finite: BoolArray
    slew: BoolArray
    torque: BoolArray
    position: BoolArray


def limit_joint_pos_target(
    target: FloatArray,
    previous_target: FloatArray,
    joint_pos: FloatArray,
    joint_vel: FloatArray,
    kp: FloatArray | float,
    kd: FloatArray | float,
    dt_s: float,
) -> tuple[Float64Array, LimitFlags]:
    """Safe joint targets (..., 12) rad, always finite and within the position limits, and which limits acted.

    All arrays (..., 12): targets and joint_pos rad, joint_vel rad/s, kp N m / rad, kd N m s / rad (or scalars). In this order:
    a target with any non-finite value is replaced by `previous_target`; it moves at most TARGET_SPEED_RATIO JOINT_VEL_LIMIT dt
    from `previous_target`; |kp (target - joint_pos) - kd joint_vel| <= TORQUE_LIMIT; JOINT_POS_LOWER <= target <=
    JOINT_POS_UPPER. A later limit wins over an earlier one. A bound that is not a number (from a broken state) does not act.
    """
    with np.errstate(all="ignore"):
        finite = np.logical_and.reduce(np.isfinite(target), axis=-1, keepdims=True)
        wanted = np.where(finite, target, previous_target)
        reach = (TARGET_SPEED_RATIO * dt_s) * go1.JOINT_VEL_LIMIT
        slewed = _clip(wanted, previous_target - reach, previous_target + reach)
        rest = joint_pos + joint_vel * (kd / kp)  # the target that asks for no torque
        span = go1.TORQUE_LIMIT / kp
        affordable = _clip(slewed, rest - span, rest + span)
        safe = _clip(affordable, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER)
    return safe, LimitFlags(np.logical_not(finite[..., 0]), _differ(slewed, wanted), _differ(affordable, slewed), _differ(safe, affordable))


def has_fallen(gravity_b: FloatArray, max_tilt_rad: float = MAX_TILT_RAD) -> BoolArray:
    """Whether (...) the body's z axis is more than `max_tilt_rad` from the vertical, from unit projected gravity (..., 3)."""
    return np.logical_not(-gravity_b[..., 2] >= math.cos(max_tilt_rad))


def is_rotation(quaternion_wxyz: Sequence[float]) -> bool:
    """Whether four numbers are a rotation, within QUATERNION_TOLERANCE; never if one of them is NaN."""
    return abs(math.hypot(*quaternion_wxyz) - 1.0) <= QUATERNION_TOLERANCE


def joints_plausible(joint_pos: Sequence[float], joint_vel: Sequence[float]) -> bool:
    """Whether twelve joints, rad and rad/s, are where those of a Go1 can be; never if a number is NaN.

    Of plain numbers, not arrays: for twelve joints that takes a quarter of the time.
    """
    joints = zip(joint_pos, joint_vel, *_PLAUSIBLE, strict=True)
    return all(lowest <= pos <= highest and abs(vel) <= fastest for pos, vel, lowest, highest, fastest in joints)


def _clip(values: FloatArray, lower: FloatArray, upper: FloatArray) -> Float64Array:
    """Like np.clip, but a NaN bound is ignored and a NaN value becomes the bound."""
    at_least = np.fmax(values, lower)
    return np.fmin(at_least, upper, out=at_least)


def _differ(after: FloatArray, before: FloatArray) -> BoolArray:
    return np.asarray(np.logical_or.reduce(after != before, axis=-1))
