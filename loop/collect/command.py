"""`quadloop collect`: episodes of a policy on a robot, in real time, with a person beside it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from common.checks import NOT_NEGATIVE, POSITIVE, Rule, at_least, between, require, require_rising
from common.command_line import Arguments, parse
from common.errors import UsageError
from common.randomness import fresh_seed, generator_for
from common.realtime import prepare_control_process, spare_the_garbage_collector
from common.result import emit
from loop.collect.operator import Operator, Willing, at_a_terminal
from loop.collect.sitting import Sitting
from robot import go1
from robot.forward_commands import ForwardCommands
from robot.log.attributes import attributes_of
from robot.log.directory import NOTES, PLAIN_NAME, new_log_directory
from robot.log.recorder import Recorder
from robot.policy.artifact import PolicyArtifact, load_artifact
from robot.run_episode import LONGEST_S
from robot.session import Session
from robot.stick import FASTEST
from twin.robots import MAX_LEVER_ARM, OpenRobot, WantedRobot, open_robot


@dataclass(frozen=True, kw_only=True)
class CollectArguments(Arguments):
    """Stand a robot up, let a policy walk and log it, episode by episode; every motion is confirmed by the person beside it."""

    policy: Path
    """policy artifact (.onnx)"""
    out: Path
    """directory of the logs; a session is a folder in it"""
    robot: Literal["go1", "twin"] = "twin"
    """which robot walks"""
    terrain: str = "flat"
    """what the twin walks on: flat, mattress, or a YAML file"""
    velocity: Literal["t265", "legs"] = "legs"
    """where the trunk's velocity comes from, for the reward; the legs take over where the camera cannot be trusted"""
    lever_arm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """the camera's place in the trunk's frame, m"""
    stance_force: float = WantedRobot().stance_force
    """reading of a foot sensor above which the foot stands, for the legs' velocity; newtons on the twin, raw numbers on a Go1"""
    ip: str = WantedRobot().ip
    """address of the Go1's motor controller"""
    power_level: int = WantedRobot().power_level
    """the vendor's power protection, in tenths of full power, 1 to 10"""
    episodes: int = 10
    """how many"""
    episode_s: float = 20.0
    """longest episode, s"""
    vx_low: float = 0.2
    """slowest commanded speed, m/s"""
    vx_high: float = 0.8
    """fastest commanded speed, m/s"""
    mean: bool = False
    """act with the mean; otherwise actions are drawn from the policy's distribution, as learning needs it"""
    session: str = ""
    """name of this sitting; empty takes date and time"""
    notes: str = ""
    """the operator's notes, kept in every log"""
    yes: bool = False
    """confirm every motion; for the twin only"""
    seed: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: another one each time)")] = field(default_factory=fresh_seed)
    """draws the commands, and by themselves the actions; one that is given draws those of the session that had it"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "episodes")
        require(self, between(0.1, LONGEST_S, "s"), "episode_s")
        require(self, NOT_NEGATIVE, "vx_low")
        require(self, POSITIVE, "stance_force")
        require(self, between(1, 10), "power_level")
        require(self, between(-MAX_LEVER_ARM, MAX_LEVER_ARM, "m"), "lever_arm")
        require(self, Rule(f"at most {FASTEST.vx:g} m/s", lambda value: value <= FASTEST.vx), "vx_high")
        require_rising(self, "vx_low", "vx_high")
        require(self, PLAIN_NAME, "session")
        require(self, NOTES, "notes")


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("collect", CollectArguments, arguments)
    if wanted.robot == "go1" and (wanted.yes or not at_a_terminal()):
        raise UsageError("at a real robot a person at a terminal confirms every motion; --yes and typed-ahead answers are for the twin")
    prepare_control_process()  # before anything starts a thread or a process
    policy = load_artifact(wanted.policy)
    directory = wanted.out / (wanted.session or time.strftime("%Y%m%d-%H%M%S"))
    operator = Willing() if wanted.yes else Operator()
    try:
        with ExitStack() as closing:
            closing.enter_context(new_log_directory(directory, "--session"))
            robot = open_robot(_robot(wanted), closing)
            recorder = closing.enter_context(Recorder())
            result = _sit(wanted, policy, robot, recorder, operator, directory)
            result["recorder"] = recorder.status.error
    except KeyboardInterrupt:
        operator.tell("The connection is closed, and a robot that was connected is damped.")
        if directory.is_dir():
            operator.tell(f"What was recorded is in {directory}.")
        raise
    if operator.gone and not (result["episodes"] or at_a_terminal()):
        raise UsageError("standard input has ended, so nobody could confirm a motion; --yes lets the twin move without")
    emit(result, wanted.json)
    return 0 if result["saved"] else 1


def _sit(
    wanted: CollectArguments, policy: PolicyArtifact, robot: OpenRobot, recorder: Recorder, operator: Operator, directory: Path
) -> dict[str, Any]:
    actions, speeds = (generator_for(f"collect {what}", wanted.seed) for what in ("actions", "speeds"))
    kept = ("notes", "vx_low", "vx_high", "episode_s", "mean", "seed", "stance_force", "lever_arm")
    config = {name: getattr(wanted, name) for name in kept}
    attributes = attributes_of(policy, robot.source, robot.velocity, directory.name, config)
    session = Session(robot.driver, robot.velocity, policy, None if wanted.mean else actions, recorder, attributes)
    spare_the_garbage_collector()
    with session:
        operator.tell(f"seed {wanted.seed}")
        sitting = Sitting(session, recorder, operator, robot.lay_down, directory)
        sitting.run(wanted.episodes, round(wanted.episode_s / go1.CONTROL_DT), ForwardCommands(wanted.vx_low, wanted.vx_high), speeds)
    counts = {"episodes": sitting.episodes, "steps": sitting.steps, "falls": sitting.falls, "lost": sitting.lost}
    return {"session": str(directory), "seed": wanted.seed} | counts | {"velocity": sitting.velocity.result(), "saved": sitting.lost == 0}


def _robot(wanted: CollectArguments) -> WantedRobot:
    return WantedRobot(
        wanted.robot, wanted.terrain, wanted.seed, ip=wanted.ip, power_level=wanted.power_level, velocity_source=wanted.velocity,
        lever_arm_b=wanted.lever_arm, stance_force=wanted.stance_force,
    )  # fmt: skip
