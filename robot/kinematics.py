"""Where the feet are and how fast they move, from the joints alone. Body frame: x forward, y left, z up, origin in the trunk's centre."""

from __future__ import annotations

import numpy as np

from common.array_types import Float64Array, FloatArray
from robot import go1

_ENDS = np.array([go1.end_of(leg) for leg in go1.LEGS])
_SIDES = np.array([go1.side_of(leg) for leg in go1.LEGS])


def foot_pos_b(joint_pos: FloatArray) -> Float64Array:
    """Centres of the feet's spheres (..., 4, 3), m, FL FR RL RR, from joint_pos (..., 12) rad."""
    hip, x, y, z = _in_hip_frame(joint_pos)
    sine, cosine = np.sin(hip), np.cos(hip)
    lateral, vertical = y * cosine - z * sine, y * sine + z * cosine
    return np.stack([x + _ENDS * go1.HIP_OFFSET_X, lateral + _SIDES * go1.HIP_OFFSET_Y, vertical], axis=-1)


def foot_vel_b(joint_pos: FloatArray, joint_vel: FloatArray) -> Float64Array:
    """Velocity of the feet relative to the trunk (..., 4, 3), m/s, from joint_pos (..., 12) rad and joint_vel (..., 12) rad/s."""
    hip, _, y, z = _in_hip_frame(joint_pos)
    _, thigh, calf = _by_joint(joint_pos)
    hip_vel, thigh_vel, calf_vel = _by_joint(joint_vel)
    shank_vel = thigh_vel + calf_vel
    x_vel = -go1.THIGH_LENGTH * np.cos(thigh) * thigh_vel - go1.CALF_LENGTH * np.cos(thigh + calf) * shank_vel
    z_vel = go1.THIGH_LENGTH * np.sin(thigh) * thigh_vel + go1.CALF_LENGTH * np.sin(thigh + calf) * shank_vel
    sine, cosine = np.sin(hip), np.cos(hip)
    lateral = -z_vel * sine - hip_vel * (y * sine + z * cosine)
    vertical = z_vel * cosine + hip_vel * (y * cosine - z * sine)
    return np.stack([x_vel, lateral, vertical], axis=-1)


def _in_hip_frame(joint_pos: FloatArray) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """Hip angle, and the foot's x, y, z from the hip joint before the hip turns, each (..., 4)."""
    hip, thigh, calf = _by_joint(joint_pos)
    x = -go1.THIGH_LENGTH * np.sin(thigh) - go1.CALF_LENGTH * np.sin(thigh + calf)
    z = -go1.THIGH_LENGTH * np.cos(thigh) - go1.CALF_LENGTH * np.cos(thigh + calf)
    return hip, x, np.broadcast_to(_SIDES * go1.THIGH_OFFSET_Y, x.shape), z


def _by_joint(values: FloatArray) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Hip, thigh and calf (..., 4) of values (..., 12) in the order of go1.JOINT_NAMES."""
    legs = np.asarray(values, dtype=np.float64).reshape(*values.shape[:-1], len(go1.LEGS), 3)
    return legs[..., 0], legs[..., 1], legs[..., 2]
