"""What the node publishes, from what the control loop knows: pure conversions, no node needed."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from robot import go1
from robot.control_cycle import Period

TRUNK, ODOM = "trunk", "odom"  # frames; the trunk's is the vendor's URDF's
STATISTICS = (
    "ticks", "missed_ticks", "missed_tick_share", "obs_to_command_p50_ms", "obs_to_command_p99_ms", "obs_to_command_max_ms",
    "lateness_p50_ms", "lateness_p99_ms", "lateness_max_ms",
)  # fmt: skip
"""What ~/loop_statistics holds, in this order: robot.loop_statistics."""
UNKNOWN_VARIANCE = 1e6
"""(m/s)^2 and (rad/s)^2, far beyond any robot's: what filters take for no measurement, where a zero would be trusted."""


def joint_state(period: Period, stamp: Time) -> JointState:
    """Positions (rad), velocities (rad/s) and torques (N m) of the twelve joints, by name."""
    message = JointState(name=list(go1.JOINT_NAMES))
    message.header.stamp = stamp
    state = period.state
    message.position, message.velocity = state.joint_pos.tolist(), state.joint_vel.tolist()
    message.effort = state.joint_torque.tolist()
    return message


def imu(period: Period, stamp: Time) -> Imu:
    """Attitude, rad/s, m/s^2 in the trunk's frame."""
    message = Imu()
    message.header.stamp, message.header.frame_id = stamp, TRUNK
    _fill(message.orientation, "wxyz", period.state.quaternion_wxyz)
    _fill(message.angular_velocity, "xyz", period.state.gyro_b)
    _fill(message.linear_acceleration, "xyz", period.state.accelerometer_b)
    return message


def odometry(period: Period, stamp: Time) -> Odometry:
    """The trunk's velocity in its own frame, m/s and rad/s, and its attitude. The place is not known and stays at zero.

    While the velocity is not valid it is zero with UNKNOWN_VARIANCE: a message has to come all the same, for its topic has a deadline.
    """
    message = Odometry(child_frame_id=TRUNK)
    message.header.stamp, message.header.frame_id = stamp, ODOM
    _fill(message.pose.pose.orientation, "wxyz", period.state.quaternion_wxyz)
    if period.velocity.valid:
        _fill(message.twist.twist.linear, "xyz", period.velocity.lin_vel_b)
        _fill(message.twist.twist.angular, "xyz", period.velocity.ang_vel_b)
    else:
        message.twist.covariance = np.diag(np.full(6, UNKNOWN_VARIANCE)).ravel()
    return message


def statistics(summary: dict[str, float]) -> Float64MultiArray:
    """The figures of STATISTICS; the labels of the layout name them."""
    message = Float64MultiArray(data=[float(summary[name]) for name in STATISTICS])
    message.layout.dim = [MultiArrayDimension(label=name, size=1, stride=1) for name in STATISTICS]
    return message


def diagnostics(stamp: Time, parts: dict[str, tuple[bytes, str, dict[str, object]]]) -> DiagnosticArray:
    """`parts`: name -> (level, message, values), as diagnostic_msgs has them."""
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [
        DiagnosticStatus(
            level=level, name=f"go1_control: {name}", hardware_id=go1.NAME, message=text,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        for name, (level, text, values) in parts.items()
    ]  # fmt: skip
    return array


def _fill(target: object, names: str, values: NDArray[np.float64]) -> None:
    for name, value in zip(names, values.tolist(), strict=True):
        setattr(target, name, value)
