"""The ROS 2 node for half an hour in real time, over real DDS, with a simulated Go1 that walks behind it: does it leak or lose a tick?

python benchmarks/ros_soak.py --minutes 30 --busy-cores 1 [--policy P.onnx]

The node is a process as a user starts it; this one is its client. Prints JSON: memory of every process of the node (slope by least squares
over the time after the first two minutes), descriptors, and the account of all ticks between the first and the last row of the log.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import rclpy
from busy_cores import busy_cores  # beside this file
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from holding_policy import write_holding_policy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from common.progress import Progress
from robot import go1
from robot.log.episode_log import list_episodes, list_unfinished, read_episode

SAMPLE_S = 5.0
WARM_UP_S = 120.0
COMMAND_S = 0.05
SPEED = 0.4  # m/s, and it swings by half of it
TIMEOUT_S = 60.0


class Client:
    """Calls the node's services, commands it, and counts what it publishes."""

    def __init__(self) -> None:
        self.node = Node("soak")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.joint_states = 0
        self.diagnostics: dict[str, dict[str, str]] = {}
        self.messages: dict[str, str] = {}
        self._cmd_vel = self.node.create_publisher(Twist, "cmd_vel", 10)
        self.node.create_subscription(JointState, "joint_states", self._count, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The answer of a service of the node; RuntimeError without one or for a refusal."""
        client: Any = self.node.create_client(kind, f"/go1_control/{name}")
        if not client.wait_for_service(TIMEOUT_S):
            raise RuntimeError(f"no service {name}")
        future = client.call_async(request)
        end_s = time.monotonic() + TIMEOUT_S
        while not future.done() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.05)
        answer = future.result()
        if answer is None or not answer.success:
            raise RuntimeError(f"{name}: {answer}")
        return answer

    def transition(self, number: int) -> None:
        """Change the node's state."""
        self.call(ChangeState, "change_state", ChangeState.Request(transition=Transition(id=number)))

    def walk_again(self) -> None:
        """After an episode that came to its limit, or a robot that was damped, as by a computer that stood still for too long."""
        self.walk(2.5)  # the log is closed, and the diagnostics tell
        for name in ("start",) if self.messages.get("robot") == "ready" else ("rearm", "stand", "start"):
            self.call(Trigger, name, Trigger.Request())

    def walk(self, seconds: float) -> None:
        """Command the robot for so long."""
        end_s, next_s = time.monotonic() + seconds, 0.0
        message = Twist()
        while (now := time.monotonic()) < end_s:
            if now >= next_s:
                message.linear.x = SPEED * (1 + 0.5 * np.sin(now / 5))
                self._cmd_vel.publish(message)
                next_s = now + COMMAND_S
            self._executor.spin_once(timeout_sec=0.02)

    def _count(self, _message: JointState) -> None:
        self.joint_states += 1

    def _take(self, array: DiagnosticArray) -> None:
        for status in array.status:
            name = status.name.removeprefix("go1_control: ")
            self.diagnostics[name], self.messages[name] = {value.key: value.value for value in status.values}, status.message


def processes_of(pid: int) -> dict[str, int]:
    """Name -> process id: the node and what it started, but not the simulated robot."""
    found = {"node": pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            if "-m" in words and words[words.index("-m") + 1] != "twin.robot_server":
                found[words[words.index("-m") + 1].rpartition(".")[2]] = int(child)
    return found


def sample(pids: dict[str, int]) -> dict[str, tuple[float, int]]:
    """Name -> resident memory (MB) and open descriptors."""
    return {name: (resident_mb(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))) for name, pid in pids.items()}


def resident_mb(pid: int) -> float:
    """Resident memory, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def memory(times_s: list[float], samples: list[dict[str, tuple[float, int]]]) -> dict[str, Any]:
    """Each process's memory and descriptors at the start and the end, and the slope of its memory."""
    told = {}
    late = np.array(times_s) >= min(WARM_UP_S, times_s[-1] / 2)
    for name in samples[0]:
        resident = np.array([each[name][0] for each in samples])
        slope = np.polyfit(np.array(times_s)[late] / 3600, resident[late], 1)[0]
        descriptors = [each[name][1] for each in samples]
        told[name] = {
            "mb_at_start": round(resident[0], 2), "mb_at_end": round(resident[-1], 2), "mb_per_hour": round(float(slope), 3),
            "descriptors_at_start": descriptors[0], "descriptors_at_end": descriptors[-1],
        }  # fmt: skip
    return told


def account(logs: list[Path], missed: int) -> dict[str, int]:
    """Ticks that there should be between the first and the last row of each log, those in it, and those that the loop says it left out."""
    expected = rows = 0
    for log in logs:
        stamps_s = read_episode(log).stamp_s
        expected += round(float(stamps_s[-1] - stamps_s[0]) / go1.CONTROL_DT) + 1
        rows += len(stamps_s)
    return {"logs": len(logs), "ticks_expected": expected, "rows": rows, "missed_ticks": missed, "unaccounted": expected - rows - missed}


def soak(policy: Path, minutes: float, directory: Path) -> dict[str, Any]:
    """The whole of it."""
    parameters = {"policy": policy, "robot": "twin", "velocity_source": "t265", "record_dir": directory / "logs", "session": "soak"}
    arguments = [piece for name, value in parameters.items() for piece in ("-p", f"{name}:={value}")]
    environment = os.environ | {"ROS_LOG_DIR": str(directory / "ros")}
    node = subprocess.Popen(
        [sys.executable, "-m", "go1_control.node", "--ros-args", *arguments], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        return walk_and_watch(node.pid, minutes, directory)
    finally:
        node.send_signal(signal.SIGINT)
        node.wait(TIMEOUT_S)


def walk_and_watch(pid: int, minutes: float, directory: Path) -> dict[str, Any]:
    """Bring the node up, walk, stop, count."""
    client = Client()
    client.transition(Transition.TRANSITION_CONFIGURE)
    client.transition(Transition.TRANSITION_ACTIVATE)
    client.call(Trigger, "stand", Trigger.Request())
    client.call(Trigger, "start", Trigger.Request())
    pids, began_s = processes_of(pid), time.monotonic()
    times_s, samples, damped = [0.0], [sample(pids)], []
    client.joint_states = 0
    with Progress("soak", int(minutes * 60), "s") as progress:
        while times_s[-1] < minutes * 60:
            client.walk(SAMPLE_S)
            told = client.messages.get("robot", "")
            damped += [told] if told.startswith("damped") else []
            if told != "policy":
                client.walk_again()
            times_s.append(time.monotonic() - began_s)
            samples.append(sample(pids))
            progress.reach(min(int(times_s[-1]), int(minutes * 60)))
    heard_hz = client.joint_states / times_s[-1]
    client.walk(1.5)  # until the next diagnostics
    loop, recorder = client.diagnostics["control loop"], client.diagnostics.get("recorder", {})
    said = client.call(Trigger, "stop", Trigger.Request()).message
    while list_unfinished(directory / "logs"):
        time.sleep(0.1)
    return {
        "minutes": minutes, "joint_states_hz": round(heard_hz, 3), "stopped": said, "control_loop": loop, "recorder": recorder,
        "damped": damped, "account": account(list_episodes(directory / "logs"), int(loop["missed_ticks"])),
        "processes": memory(times_s, samples),
    }  # fmt: skip


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--busy-cores", type=int, default=0)
    parser.add_argument("--policy", type=Path)
    wanted = parser.parse_args()
    rclpy.init()
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        closing.enter_context(busy_cores(wanted.busy_cores))
        policy = wanted.policy or write_holding_policy(Path(name) / "policy.onnx").path
        result = soak(policy.absolute(), wanted.minutes, Path(name))
    rclpy.try_shutdown()
    print(json.dumps({"busy_cores": wanted.busy_cores} | result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
