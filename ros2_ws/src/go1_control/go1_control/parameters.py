"""The node's parameters: each with its type, its range and what it means. All but the gait are fixed while the node is configured."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from common.checks import require
from common.errors import QuadloopError
from common.randomness import fresh_seed
from robot.gait import Gait
from robot.log.directory import NOTES, PLAIN_NAME
from robot.stick import FASTEST, STALE_AFTER_S, VelocityLimits
from twin.robots import ROBOTS, VELOCITY_SOURCES, WantedRobot


@dataclass(frozen=True)
class Parameter:
    """Default, meaning, and the range of numbers."""

    default: Any
    meaning: str
    low: float | None = None
    high: float | None = None


FIXED = {
    "policy": Parameter("", "policy artifact (.onnx)"),
    "robot": Parameter("twin", f"one of {', '.join(ROBOTS)}"),
    "terrain": Parameter("flat", "what the twin walks on: flat, mattress, or a YAML file"),
    "replay_log": Parameter("", "episode log (.hdf5) that is played where robot is replay"),
    "robot_ip": Parameter(WantedRobot().ip, "address of the Go1's motor controller"),
    "power_level": Parameter(WantedRobot().power_level, "the vendor's power protection, in tenths of full power", 1, 10),
    "velocity_source": Parameter("legs", f"one of {', '.join(VELOCITY_SOURCES)}; for the log and its reward, the policy never sees it"),
    "lever_arm": Parameter([0.0, 0.0, 0.0], "place of the camera or of the odometry's frame in the trunk's frame, m"),
    "stance_force": Parameter(
        WantedRobot().stance_force, "reading of a foot sensor above which the foot stands; N on the twin, raw numbers on a Go1", 0.1, 1e5
    ),
    "record_dir": Parameter("", "directory for episode logs, of ten minutes at most each; empty records nothing"),
    "session": Parameter("", "name of this sitting in the logs; empty takes date and time"),
    "notes": Parameter("", "the operator's notes, kept in every log"),
    "explore": Parameter(False, "draw actions from the policy's distribution, as learning needs it, instead of taking the mean"),
    "seed": Parameter(-1, "draws the actions and the twin; -1 takes another one each time that the node is configured", -1, 2**31 - 1),
    "cmd_vel_timeout": Parameter(STALE_AFTER_S, "s without cmd_vel after which the robot is told to stand on the spot", 0.1, 2.0),
    "max_vx": Parameter(VelocityLimits().vx, "forward, m/s", 0.05, FASTEST.vx),
    "max_vx_backward": Parameter(VelocityLimits().vx_backward, "m/s", 0.05, FASTEST.vx_backward),
    "max_vy": Parameter(VelocityLimits().vy, "m/s", 0.05, FASTEST.vy),
    "max_yaw_rate": Parameter(VelocityLimits().yaw_rate, "rad/s", 0.05, FASTEST.yaw_rate),
}
"""What is decided before the robot is connected; may change while the node is not configured."""

GAIT = {
    "gait_frequency": Parameter(Gait().gait_frequency, "steps of a foot in a second, Hz", 1.5, 4.0),
    "gait_duration": Parameter(Gait().gait_duration, "share of a cycle that a foot is on the floor", 0.3, 0.8),
    "foot_swing_height": Parameter(Gait().foot_swing_height, "apex of a foot's swing, m", 0.02, 0.25),
    "body_height": Parameter(Gait().body_height, "trunk above its usual height, m", -0.15, 0.1),
    "pitch": Parameter(Gait().pitch, "rad, nose up positive", -0.4, 0.4),
    "roll": Parameter(Gait().roll, "rad, left side down positive", -0.4, 0.4),
}
"""What may change while the robot walks."""


@dataclass(frozen=True)
class Settings:
    """The parameters' values, checked."""

    policy: Path
    robot: WantedRobot
    record_dir: str  # "" records nothing
    session: str
    notes: str
    explore: bool
    seed: int
    cmd_vel_timeout: float  # s
    limits: VelocityLimits
    gait: Gait

    def __post_init__(self) -> None:
        require(self, PLAIN_NAME, "session")
        require(self, NOTES, "notes")


class ParameterError(QuadloopError):
    """A parameter's value that cannot be used."""


def declare(node: Node) -> None:
    """Declare all parameters; a value of another type or outside its range, from a file or the command line, ends the node here."""
    for name, parameter in (FIXED | GAIT).items():
        node.declare_parameter(name, parameter.default, _descriptor(parameter))


def settings(node: Node) -> Settings:
    """The present values, with a seed that is drawn where none is given; a QuadloopError names the first that cannot be used."""
    values = {name: node.get_parameter(name).value for name in FIXED}
    values["seed"] = fresh_seed() if values["seed"] < 0 else values["seed"]
    if not values["policy"]:
        raise ParameterError("parameter policy is empty; name a policy artifact (.onnx)")
    robot = WantedRobot(
        values["robot"], values["terrain"], values["seed"], values["replay_log"], values["robot_ip"], values["power_level"],
        values["velocity_source"], tuple(values["lever_arm"]), values["stance_force"],
    )  # fmt: skip
    limits = VelocityLimits(values["max_vx"], values["max_vx_backward"], values["max_vy"], values["max_yaw_rate"])
    plain = {name: values[name] for name in ("record_dir", "session", "notes", "explore", "seed", "cmd_vel_timeout")}
    return Settings(policy=Path(values["policy"]), robot=robot, limits=limits, gait=gait(node), **plain)


def gait(node: Node, **changes: float) -> Gait:
    """The gait of the present values, with `changes`."""
    values = {name: node.get_parameter(name).value for name in GAIT}
    return replace(Gait(), **(values | changes))


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=parameter.meaning)
    if isinstance(parameter.default, float) and parameter.low is not None and parameter.high is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(parameter.low), to_value=float(parameter.high), step=0.0)]
    elif isinstance(parameter.default, int) and parameter.low is not None and parameter.high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(parameter.low), to_value=int(parameter.high), step=1)]
    return descriptor


assert {each.name for each in fields(Gait)} == set(GAIT)  # noqa: S101  one list of names, in two places
