"""The Unitree Go1 in numbers. The only place that knows a joint order.

Arrays of length 12 are in the policy's order: FL, FR, RL, RR x hip, thigh, calf. Units: metre, kilogram, second, radian,
newton metre. Body frame: x forward, y left, z up, origin at the trunk's geometric centre.

Sources: [sdk] unitree_legged_sdk 3.8 headers; [urdf] Unitree's go1_description; [wtw] Walk These Ways (Margolis and
Agrawal 2022), whose gains, defaults and scales the released Uni-O4 policies were trained with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array

NAME = "unitree_go1"
NUM_JOINTS = 12

LEGS = ("FL", "FR", "RL", "RR")
JOINTS_OF_A_LEG = ("hip", "thigh", "calf")
JOINT_NAMES = tuple(f"{leg}_{joint}_joint" for leg in LEGS for joint in JOINTS_OF_A_LEG)

# [sdk] go1_const.h: motors 0..11 are FR, FL, RR, RL; no sign flips against the policy's convention.
SDK_LEGS = ("FR", "FL", "RR", "RL")
SDK_JOINT_NAMES = tuple(f"{leg}_{joint}_joint" for leg in SDK_LEGS for joint in JOINTS_OF_A_LEG)


def order_map(source: tuple[str, ...], target: tuple[str, ...]) -> NDArray[np.intp]:
    """Index array i with `values_in_target_order = values_in_source_order[..., i]`; both orders must name the same joints."""
    if sorted(source) != sorted(target):
        raise ValueError(f"the orders name different joints: {sorted(set(source) ^ set(target))}")
    return np.array([source.index(name) for name in target], dtype=np.intp)


def _frozen(values: list[float]) -> Float64Array:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


def _each_leg(hip: float, thigh: float, calf: float) -> Float64Array:
    return _frozen([hip, thigh, calf] * len(LEGS))


# [wtw] posture in which the robot stands and around which the policy acts.
DEFAULT_JOINT_POS = _frozen([0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5])
# [wtw] radian per unit of action: 0.25, halved for the hips.
ACTION_SCALE = _each_leg(0.125, 0.25, 0.25)
ACTION_CLIP = 10.0

# [sdk] go1_const.h, what the vendor's own position protection enforces.
JOINT_POS_LOWER = _each_leg(-1.047, -0.663, -2.721)
JOINT_POS_UPPER = _each_leg(1.047, 2.966, -0.837)
# [urdf] effort limits.
TORQUE_LIMIT = _each_leg(23.7, 23.7, 35.55)
# [urdf] velocity limits.
JOINT_VEL_LIMIT = _each_leg(30.1, 30.1, 20.06)

# [wtw] PD gains at the motor, N m / rad and N m s / rad; no feed-forward torque.
KP = 20.0
KD = 0.5
CONTROL_DT = 0.02
PHYSICS_DT = 0.005
DECIMATION = 4

# [urdf] bodies; inertia about the centre of mass, diagonal, kg m^2.
TRUNK_MASS = 5.204
TRUNK_COM = (0.0223, 0.002, -0.0005)
TRUNK_INERTIA = (0.0168, 0.0630, 0.0717)
TRUNK_SIZE = (0.3762, 0.0935, 0.114)  # length, width, height of the collision box
HIP_MASS, THIGH_MASS, CALF_MASS = 0.68, 1.009, 0.196  # the calf includes the foot
HIP_COM = (0.0049, 0.0076, 0.0)  # magnitudes; x negative at the front, y outward negative: see hip_com
HIP_INERTIA = (7.3e-4, 4.7e-4, 4.0e-4)
THIGH_COM = (-0.003, 0.0193, -0.0305)  # y points inward: see thigh_com
THIGH_INERTIA = (4.8e-3, 4.6e-3, 7.1e-4)
CALF_COM = (0.0043, 0.001, -0.146)
CALF_INERTIA = (1.5e-3, 1.5e-3, 3.6e-5)
TOTAL_MASS = TRUNK_MASS + len(LEGS) * (HIP_MASS + THIGH_MASS + CALF_MASS)

# [urdf] kinematics.
HIP_OFFSET_X, HIP_OFFSET_Y = 0.1881, 0.04675  # hip joint from the trunk's centre, magnitudes
THIGH_OFFSET_Y = 0.08  # thigh joint outward of the hip joint
THIGH_LENGTH = 0.213
CALF_LENGTH = 0.213
FOOT_RADIUS = 0.023

# [urdf] and the range found in the models in use: reflected rotor inertia, dry friction, viscous damping, foot friction.
JOINT_ARMATURE = 0.01
JOINT_FRICTIONLOSS = 0.1
JOINT_DAMPING = 0.05
FOOT_FRICTION = 0.8


def side_of(leg: str) -> int:
    """+1 for the left legs, -1 for the right ones."""
    return 1 if leg.endswith("L") else -1


def end_of(leg: str) -> int:
    """+1 for the front legs, -1 for the rear ones."""
    return 1 if leg.startswith("F") else -1


def hip_com(leg: str) -> tuple[float, float, float]:
    """Centre of mass of the hip link in the hip frame, m: toward the trunk's middle in x, inward in y."""
    x, y, z = HIP_COM
    return (-end_of(leg) * x, -side_of(leg) * y, z)


def thigh_com(leg: str) -> tuple[float, float, float]:
    """Centre of mass of the thigh link in the thigh frame, m."""
    x, y, z = THIGH_COM
    return (x, -side_of(leg) * y, z)


def joint_pos_target_of(action: NDArray[np.floating]) -> Float64Array:
    """Joint targets (..., 12) in rad for actions (..., 12): default + scale * clip(action, +-10)."""
    clipped = np.minimum(np.maximum(action, -ACTION_CLIP), ACTION_CLIP)
    return np.asarray(DEFAULT_JOINT_POS + ACTION_SCALE * clipped, dtype=np.float64)
