"""How punctual the control loop of a real robot is, with everything that belongs to it: the SDK's process at 500 Hz, its guardian, a
camera's process, the recorder, and a simulated Go1 that walks in real time; beside cores that are kept busy. Prints JSON.

python benchmarks/control_loop.py --seconds 600 --busy-cores 1 [--policy P.onnx]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from busy_cores import busy_cores  # beside this file
from holding_policy import write_holding_policy

from common.progress import Progress
from common.realtime import prepare_control_process, spare_the_garbage_collector
from robot import go1
from robot.command import trot_command
from robot.driver import fault_names
from robot.log.attributes import attributes_of
from robot.log.episode_log import read_episode
from robot.log.recorder import Recorder
from robot.loop_statistics import LoopStatistics
from robot.policy.artifact import PolicyArtifact, load_artifact
from robot.run_episode import EpisodePlan
from robot.session import Session
from robot.supervisor import Mode, event_names
from robot.unitree.driver import Go1Driver
from robot.velocity.legs import LegVelocity
from robot.velocity.t265_process import T265Process
from robot.velocity.watched import WatchedVelocity
from twin.robot_process import RobotProcess

COMMAND = 0.5  # m/s
EPISODE_S = 60.0  # then the robot stands still for a moment, and the next begins


def measure(policy: PolicyArtifact, seconds: float, directory: Path, progress: Progress) -> dict[str, Any]:
    """Episodes for `seconds`, each logged; the figures of LoopStatistics and of the SDK's process."""
    with ExitStack() as closing:
        robot = closing.enter_context(RobotProcess())
        camera = T265Process(robot.camera)
        closing.callback(camera.close)
        recorder = closing.enter_context(Recorder())
        driver, velocity = Go1Driver(robot.config), WatchedVelocity(camera.velocity(np.zeros(3)), LegVelocity())
        attributes = attributes_of(policy, "twin:flat", velocity, "benchmark", {})
        statistics: LoopStatistics
        session = Session(
            driver, velocity, policy, np.random.default_rng(0), recorder, attributes, observe=lambda period: statistics.observe(period)
        )
        statistics = LoopStatistics(session.pace)
        spare_the_garbage_collector()
        with session:
            walked, damped = walk(session, robot, seconds, directory, progress)
            stream = driver.status
        recorder.wait_finished(30.0)
        rows = sum(len(read_episode(path).actions) for path in directory.glob("*.hdf5"))
    return statistics.summary() | {
        "policy_ticks": walked, "logged_rows": rows, "damped": damped, "sdk_cycles": stream.cycles, "sdk_late_cycles": stream.late_cycles,
        "sdk_longest_gap_ms": 1e3 * stream.longest_gap_s, "refused_by_the_system": session.thread.refused,
    }  # fmt: skip


def walk(session: Session, robot: RobotProcess, seconds: float, directory: Path, progress: Progress) -> tuple[int, list[str]]:
    """Episodes until the time is over; returns the steps that the policy made, and why the robot was damped, if it was."""
    began_s, steps, damped, logs = time.monotonic(), 0, [], itertools.count()
    while (left_s := seconds - (time.monotonic() - began_s)) > 0:
        if session.mode is Mode.DAMPING:
            damped.append(why_damped(session))
            session.await_rest()
            robot.order(lie_down=True)
            session.rearm().result()
        plan = EpisodePlan(max(1, int(min(EPISODE_S, left_s) / go1.CONTROL_DT)), lambda _: trot_command(COMMAND))
        steps += session.walk(plan, directory / f"{next(logs):04d}.hdf5").result().steps
        progress.reach(int(min(seconds, time.monotonic() - began_s)))
    return steps, damped


def why_damped(session: Session) -> str:
    """Safety events and the driver's faults, in one line."""
    faults = fault_names(session.cycle.state.faults) if session.cycle.state is not None else ""
    return f"{event_names(session.loop.supervisor.cause)} {faults}".strip()


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--busy-cores", type=int, default=1)
    parser.add_argument("--policy", type=Path)
    parser.add_argument("--json", action="store_true", help="is always on")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        directory = Path(name)
        policy = load_artifact(wanted.policy) if wanted.policy else write_holding_policy(directory / "policy.onnx")
        closing.enter_context(busy_cores(wanted.busy_cores))
        prepare_control_process()  # after the busy cores, which are not to inherit it
        progress = closing.enter_context(Progress("control loop", int(wanted.seconds), "s"))
        result = measure(policy, wanted.seconds, directory, progress)
    print(json.dumps({"seconds": wanted.seconds, "busy_cores": wanted.busy_cores} | result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
