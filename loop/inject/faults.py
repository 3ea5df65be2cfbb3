"""What can go wrong with a robot that walks, as data: what is done, what must follow, and within how long."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from loop.inject.walker import CAPACITY_ROWS
from loop.inject.walker_process import WalkerProcess
from robot import go1
from robot.control_loop import STAND_TIME_S
from robot.run_episode import STOP_S
from robot.stick import STALE_AFTER_S
from robot.unitree.command_stream import GUARDIAN_AFTER_S
from robot.unitree.command_stream import PERIOD_S as STREAM_PERIOD_S
from robot.unitree.driver import Go1Driver
from robot.unitree.failsafe import DAMP_AFTER_S
from robot.unitree.watch import REMOTE_AFTER_S, STALL_AFTER_S, STATE_AFTER_S, STUCK_CYCLES
from robot.velocity.tracked import MAX_AGE_S
from robot.velocity.watched import DRIFT_S
from twin.robot_process import RobotProcess


class Expected(Enum):
    """What must follow."""

    DAMPED = "damped"  # the motors are commanded to damp, and stay so; counted until the robot hears of it
    GOES_ON = "goes on"  # the policy acts as before; counted until somebody says what is wrong
    LIMITED = "within limits"  # the robot may fall, but no target leaves its limits; counted until somebody says what is wrong
    REFUSED = "refused"  # it does not happen, and the policy acts as before


@dataclass(frozen=True)
class Scene:
    """A robot that walks, and what makes it walk."""

    robot: RobotProcess
    walker: WalkerProcess
    log: Path  # of this walk, in a directory of its own


Deed = Callable[[Scene], None]


@dataclass(frozen=True)
class Fault:
    """One rehearsal."""

    what: str  # happens, for a person
    inject: Deed
    expected: Expected
    within_s: float
    reported: str  # regular expression of what somebody must say, as "about: what"; see loop.inject.walker.Walker
    then: Deed | None = None  # done once the robot has reacted, or has gone on for a while; what is reported may be the answer to that


# Bounds, s: how long the design allows, and SLACK_S for a busy machine with two cores, where a process waits for its turn.
SLACK_S = 0.1
PERIOD_S = go1.CONTROL_DT + SLACK_S  # seen in the next control period, or in the next cycle of the stream
COMMANDS_LOST_S = DAMP_AFTER_S + 2 * go1.CONTROL_DT + SLACK_S
STREAM_DEAD_S = 0.05 + SLACK_S  # until its guardian has opened a connection of its own
STREAM_FROZEN_S = STALL_AFTER_S + STREAM_DEAD_S
STATE_LOST_S = STATE_AFTER_S + SLACK_S
STUCK_S = STUCK_CYCLES * STREAM_PERIOD_S + SLACK_S
CAMERA_OLD_S = MAX_AGE_S + PERIOD_S
TOLD_S = 0.1 + SLACK_S  # what only the main thread looks at
RING_FULL_S = CAPACITY_ROWS * go1.CONTROL_DT + TOLD_S
JUMP_S = 5.0  # the camera's jumps come at random, two a second
FINISH_S = STOP_S + STAND_TIME_S + 1.0  # until the robot stands still and its log has been finished


def _signal(number: int, *names: str) -> Deed:
    return lambda scene: scene.walker.signal(number, *names)


def _robot(**orders: Any) -> Deed:
    def deed(scene: Scene) -> None:
        scene.robot.order(**orders)

    return deed


def _walker(**orders: Any) -> Deed:
    return lambda scene: scene.walker.order(**orders)


def _control_it_twice(scene: Scene) -> None:
    with Go1Driver(scene.robot.config):
        return


def _fill_the_disk(scene: Scene) -> None:
    """Not one byte more may be written: unlike a small file system, a limit needs no privileges."""
    _, hard = resource.prlimit(scene.walker.pid("recorder"), resource.RLIMIT_FSIZE)
    resource.prlimit(scene.walker.pid("recorder"), resource.RLIMIT_FSIZE, (0, hard))


def _remove_the_directory(scene: Scene) -> None:
    shutil.rmtree(scene.log.parent)


_DAMPED, _GOES_ON, _LIMITED, _REFUSED = Expected
_KILL, _STOP, _GO = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT

PROCESSES = {
    "policy_killed": Fault("the control process is killed", _signal(_KILL, "walker"), _DAMPED, COMMANDS_LOST_S, r"walker: killed"),
    "policy_stopped": Fault(
        "the control process is stopped, and goes on when the robot has been damped",
        _signal(_STOP, "walker"), _DAMPED, COMMANDS_LOST_S, r"faults: COMMAND_LOST", then=_signal(_GO, "walker"),
    ),
    "policy_hangs": Fault("the policy takes 1 s for an answer", _walker(think_s=1.0), _DAMPED, COMMANDS_LOST_S, r"faults: COMMAND_LOST"),
    "policy_late": Fault("the policy takes 0.1 s for an answer", _walker(think_s=0.1), _GOES_ON, 0.1 + PERIOD_S, r"missed periods: \d"),
    "interrupted": Fault("Ctrl-C", _signal(signal.SIGINT, "walker"), _DAMPED, PERIOD_S, r"walker: ended \(exit status 130\)"),
    "exception": Fault("the policy raises an exception", _walker(policy_raises=True), _DAMPED, PERIOD_S, r"episode: .*rehearsed"),
    "velocity_exception": Fault(
        "the velocity source raises an exception, again and again", _walker(velocity_raises=True), _DAMPED, PERIOD_S, r"thread: .*rehearsed"
    ),
    "driver_killed": Fault("the command stream is killed", _signal(_KILL, "stream"), _DAMPED, STREAM_DEAD_S, r"faults: .*DRIVER_LOST"),
    "driver_stopped": Fault("the command stream is stopped", _signal(_STOP, "stream"), _DAMPED, STREAM_FROZEN_S, r"faults: .*DRIVER_LOST"),
    "guardian_killed": Fault(
        "the command stream's guardian is killed", _signal(_KILL, "guardian"), _GOES_ON, GUARDIAN_AFTER_S + TOLD_S, r"guarded: False"
    ),
    "recorder_killed": Fault("the recorder is killed", _signal(_KILL, "recorder"), _GOES_ON, TOLD_S, r"recorder: .*was killed"),
    "recorder_stopped": Fault(
        "the recorder is stopped, as by a disk that hangs", _signal(_STOP, "recorder"), _GOES_ON, RING_FULL_S, r"recorder: .*too slow"
    ),
    "camera_killed": Fault("the camera's process is killed", _signal(_KILL, "camera"), _GOES_ON, CAMERA_OLD_S, r"velocity: legs"),
    "all_killed": Fault(
        "all processes but the guardian are killed at once",
        _signal(_KILL, "walker", "stream", "recorder", "camera"), _DAMPED, STREAM_DEAD_S, r"walker: killed",
    ),
}  # fmt: skip

STATE = {
    "state_silent": Fault("the robot stops answering", _robot(silent=True), _DAMPED, STATE_LOST_S, r"faults: STATE_LOST"),
    "state_frozen": Fault("the robot repeats one answer", _robot(frozen=True), _DAMPED, STATE_LOST_S, r"faults: STATE_LOST"),
    "state_stuck": Fault("the robot's clock goes on, its sensors do not", _robot(stuck=True), _DAMPED, STUCK_S, r"faults: STATE_BROKEN"),
    "state_garbled": Fault("the robot's answers fail their checksum", _robot(garbled=True), _DAMPED, STATE_LOST_S, r"faults: STATE_LOST"),
    "state_nan": Fault("the robot answers with joints that are not numbers", _robot(nan=True), _DAMPED, PERIOD_S, r"faults: STATE_BROKEN"),
    "robot_restarted": Fault("the robot's clock starts anew", _robot(restarted=True), _DAMPED, PERIOD_S, r"faults: RESTARTED"),
    "imu_unpowered": Fault("the IMU answers with zeros", _robot(unpowered_imu=True), _DAMPED, PERIOD_S, r"faults: STATE_BROKEN"),
}

ROBOT = {
    "tipped_over": Fault("the robot is thrown on its side", _robot(tip_over=1.8), _DAMPED, PERIOD_S, r"safety: .*TILT"),
    "remote_stop": Fault("the remote's button is pressed", _robot(remote_stop=True), _DAMPED, PERIOD_S, r"faults: REMOTE_STOP"),
    "remote_lost": Fault("the remote is switched off", _robot(remote=False), _DAMPED, REMOTE_AFTER_S + SLACK_S, r"faults: REMOTE_LOST"),
    "battery_empty": Fault("the battery is at 4 percent", _robot(battery_percent=4), _DAMPED, PERIOD_S, r"faults: BATTERY"),
    "motor_hot": Fault("the motors are at 90 degrees", _robot(temperature=90), _DAMPED, PERIOD_S, r"faults: MOTOR_HOT"),
    "motor_overheated": Fault("a motor shuts itself off", _robot(overheated=True), _DAMPED, PERIOD_S, r"faults: MOTOR_HOT"),
}

VELOCITY = {
    "t265_lost": Fault("the camera goes silent", _robot(camera="LOST"), _GOES_ON, CAMERA_OLD_S, r"velocity: legs \(AGE"),
    "t265_nan": Fault("the camera's poses are not numbers", _robot(camera="NAN"), _GOES_ON, PERIOD_S, r"velocity: legs \(NON_FINITE"),
    "t265_jumping": Fault("the camera's position jumps", _robot(camera="JUMPING"), _GOES_ON, JUMP_S, r"velocity: legs \(JUMP"),
    "t265_drifting": Fault("the camera drifts off", _robot(camera="DRIFTING"), _GOES_ON, DRIFT_S + 1.0, r"velocity: legs \(drift"),
}

COMMANDS = {
    "nan_action": Fault("the policy answers NaN", _walker(action="nan"), _DAMPED, PERIOD_S, r"safety: .*NON_FINITE_ACTION"),
    "infinite_action": Fault("the policy answers infinity", _walker(action="infinite"), _DAMPED, PERIOD_S, r"safety: .*NON_FINITE_ACTION"),
    "huge_action": Fault("the policy answers a million", _walker(action="huge"), _LIMITED, PERIOD_S, r"safety: .*TORQUE_LIMIT"),
    "estop": Fault("somebody asks for the stop", _walker(estop=True), _DAMPED, PERIOD_S, r"safety: .*ESTOP"),
    "cmd_vel_stale": Fault("nobody holds the stick", _walker(silent=True), _GOES_ON, STALE_AFTER_S + PERIOD_S, r"command: 0.00"),
    "clock_forward": Fault("the loop's clock jumps 10 s ahead", _walker(clock_s=10.0), _DAMPED, PERIOD_S, r"safety: .*STALE_STATE"),
    "clock_backward": Fault("the loop's clock jumps 10 s back", _walker(clock_s=-10.0), _DAMPED, PERIOD_S, r"safety: .*STALE_STATE"),
    "second_controller": Fault(
        "somebody else wants to drive the robot", _control_it_twice, _REFUSED, SLACK_S, r"refused: another controller \(process \d+\)"
    ),
}

RECORDER = {
    "disk_full": Fault("the disk takes no more", _fill_the_disk, _GOES_ON, TOLD_S, r"recorder: the disk refuses"),
    "directory_gone": Fault(
        "the log's directory is deleted; the robot is stopped later",
        _remove_the_directory, _GOES_ON, FINISH_S, r"log: whole", then=_walker(stop=True),
    ),
}  # fmt: skip

FAULTS: dict[str, Fault] = PROCESSES | STATE | ROBOT | VELOCITY | COMMANDS | RECORDER
