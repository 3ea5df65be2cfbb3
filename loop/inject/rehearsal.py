"""Rehearses faults on a simulated robot, in real time, through the processes that run on a robot, and measures what the robot hears."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from loop.inject.faults import FAULTS, Expected, Scene
from loop.inject.walker_process import Message, WalkerProcess
from robot.driver import DriverError
from robot.supervisor import Mode
from twin.robot_process import RobotProcess
from twin.robot_server import Orders

T = TypeVar("T")

WALK_S = 1.0  # before a fault
WATCH_S = 2.0  # how long a robot that goes on is watched
STAY_S = 0.3  # how long a robot that was damped is watched
PATIENCE_S = 2.0  # beyond a bound, to measure by how much it is missed
READY_TIMEOUT_S = 10.0
LOOK_S = 0.005
SETTLED_S = 0.1  # targets that did not change for so long before a fault do not show whether they are held
SILENT = ("pids",)  # news that report nothing


@dataclass
class Outcome:
    """What came of a fault; `wrong` is empty if the robot reacted as it must."""

    fault: str
    happened: str = ""  # "damped", "goes on", or else what the motors were commanded
    reaction_ms: float | None = None  # see Expected; None if there was no reaction
    held_ms: float | None = None  # before damping, the last target was repeated for so long; None where targets did not change before
    reported: list[str] = field(default_factory=list)  # all that was said since, in this order
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the robot reacted as it must."""
        return not self.wrong

    def result(self) -> dict[str, Any]:
        """For people and machines."""
        fault = FAULTS[self.fault]
        return asdict(self) | {"what": fault.what, "expected": fault.expected.value, "bound_ms": fault.within_s * 1e3, "ok": self.ok}


class Rehearsal:
    """A simulated robot on `terrain`, and a control process with `policy` (None stands still), for any number of faults.

    Each begins on the floor: stand up, walk, and then it happens. Logs go below `directory`. Use it as a context manager.
    """

    def __init__(
        self, policy: Path | None, terrain: str, seed: int, directory: Path, walk_s: float = WALK_S, watch_s: float = WATCH_S
    ) -> None:
        self._policy, self._directory, self._walk_s, self._watch_s = policy, directory, walk_s, watch_s
        self._count = 0
        self._walker: WalkerProcess | None = None
        self._robot = RobotProcess(terrain, seed)

    def run(self, name: str) -> Outcome:
        """One fault of FAULTS."""
        self._count += 1
        log = self._directory.resolve() / f"{self._count:03d}_{name}" / f"{self._count:03d}.hdf5"
        try:
            scene = Scene(self._robot, self._sound_walker(), log)
            _walk(scene, self._walk_s)
            return _Watch(scene, name, self._watch_s).run()
        except DriverError as error:
            self._end_walker()
            return Outcome(name, wrong=[f"not rehearsed: {error}"])

    def close(self) -> None:
        """End all processes. Idempotent."""
        try:
            self._end_walker()
        finally:
            self._robot.close()

    def _sound_walker(self) -> WalkerProcess:
        """The control process of the last fault if it survived, damped and armed again; otherwise a new one."""
        self._robot.order(**asdict(Orders()))
        if self._walker is not None and self._walker.whole:
            self._walker.signal(signal.SIGCONT, "recorder")
            _arm_again(Scene(self._robot, self._walker, self._directory))
            return self._walker
        self._end_walker()
        self._robot.order(lie_down=True)
        self._walker = WalkerProcess(self._robot.config, self._robot.camera, self._policy)
        return self._walker

    def _end_walker(self) -> None:
        walker, self._walker = self._walker, None
        if walker is not None:
            walker.close()

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _arm_again(scene: Scene) -> None:
    walker = scene.walker
    walker.order(estop=True)
    _require(lambda: walker.newest("mode") == Mode.DAMPING.value, walker, "does not damp")
    scene.robot.order(lie_down=True)
    walker.order(rearm=True)
    _require(lambda: walker.newest("mode") == Mode.PASSIVE.value and not walker.newest("faults"), walker, "cannot be armed again")


def _walk(scene: Scene, seconds: float) -> None:
    """Stand up, walk for a while, recorded, by the camera's velocity."""
    walker, part = scene.walker, scene.log.with_name(scene.log.name + ".part")
    walker.order(walk=str(scene.log))
    _require(lambda: walker.newest("mode") == Mode.POLICY.value, walker, "does not walk")
    time.sleep(seconds)
    _require(part.exists, walker, "is not recorded")
    _require(lambda: walker.newest("velocity") == "t265", walker, "does not trust its camera")
    if walker.newest("mode") != Mode.POLICY.value:
        raise DriverError(f"the robot fell before anything happened ({walker.newest('safety')})")


def _require(condition: Callable[[], bool], walker: WalkerProcess, what: str) -> None:
    if _until(lambda: condition() or None, READY_TIMEOUT_S) is None:
        said = ", ".join(f"{about}: {walker.newest(about)}" for about in ("mode", "faults", "velocity", "episode", "walker"))
        raise DriverError(f"the robot {what} ({said})")


class _Watch:
    """One fault from the moment before it happens."""

    def __init__(self, scene: Scene, name: str, watch_s: float) -> None:
        self._scene, self._fault, self._watch_s = scene, FAULTS[name], watch_s
        self._outcome = Outcome(name)
        self._first = len(scene.walker.news)
        self._violations = scene.robot.truth()["violations"]
        self._refused: list[Message] = []
        self._injected_s = time.monotonic()

    def run(self) -> Outcome:
        """Do it, measure, judge."""
        outcome, fault = self._outcome, self._fault
        self._inject()
        reaction_s = self._damping() if fault.expected is Expected.DAMPED else self._answer()
        outcome.reaction_ms = None if reaction_s is None else reaction_s * 1e3
        self._judge(reaction_s)
        outcome.reported = list(dict.fromkeys(str(message) for message in self._news() if message.says not in ("", [])))
        return outcome

    def _inject(self) -> None:
        self._injected_s = time.monotonic()
        try:
            self._fault.inject(self._scene)
        except DriverError as error:
            if self._fault.expected is not Expected.REFUSED:
                raise
            self._refused.append(Message(time.monotonic(), "refused", str(error)))

    def _damping(self) -> float | None:
        """Seconds until the robot was told to damp."""
        changed_s = [-1.0]

        def stamp() -> float | None:
            truth = self._scene.robot.truth()
            received = truth["received"]
            stamps = [entry["stamp_s"] for entry in received if entry["mode"] == "damping" and entry["stamp_s"] >= self._injected_s]
            if not stamps:
                changed_s[0] = truth["target_changed_s"]
            return stamps[0] if stamps else None

        damped_s = _until(stamp, self._fault.within_s + PATIENCE_S)
        if self._fault.then is not None:
            self._fault.then(self._scene)
        self._report(self._fault.within_s + PATIENCE_S)
        time.sleep(STAY_S)
        if damped_s is None:
            return None
        if changed_s[0] > self._injected_s - SETTLED_S:
            self._outcome.held_ms = (damped_s - changed_s[0]) * 1e3
        return damped_s - self._injected_s

    def _answer(self) -> float | None:
        """Seconds until somebody said what is wrong, or what came of what was done `then`; the robot is watched meanwhile."""
        begun_s, fault = self._injected_s, self._fault
        if fault.then is not None:
            time.sleep(self._watch_s)
            self._note_what_goes_on()
            fault.then(self._scene)
            begun_s = time.monotonic()
        said = self._report(fault.within_s + PATIENCE_S)
        time.sleep(max(0.0, self._injected_s + self._watch_s - time.monotonic()))
        return None if said is None else said.stamp_s - begun_s

    def _report(self, timeout_s: float) -> Message | None:
        pattern = re.compile(self._fault.reported)
        return _until(lambda: next((message for message in self._news() if pattern.match(str(message))), None), timeout_s)

    def _news(self) -> list[Message]:
        news = [message for message in self._scene.walker.news[self._first :] if message.about not in SILENT]
        return sorted([*news, *self._refused], key=lambda message: message.stamp_s)

    def _note_what_goes_on(self) -> None:
        mode = self._scene.robot.truth()["received"][-1]["mode"]
        acting = mode == "torque" and self._scene.walker.newest("mode") == Mode.POLICY.value
        self._outcome.happened = self._outcome.happened or (Expected.GOES_ON.value if acting else mode)

    def _judge(self, reaction_s: float | None) -> None:
        outcome, fault = self._outcome, self._fault
        self._note_what_goes_on()
        outcome.happened = {"damping": Expected.DAMPED.value}.get(outcome.happened, outcome.happened)
        wanted = Expected.DAMPED if fault.expected is Expected.DAMPED else Expected.GOES_ON
        if fault.expected is not Expected.LIMITED and outcome.happened != wanted.value:
            outcome.wrong.append(f"the robot must be {wanted.value}, it is {outcome.happened}")
        if reaction_s is None:
            outcome.wrong.append("there was no reaction")
        elif reaction_s > fault.within_s:
            outcome.wrong.append(f"the reaction took {reaction_s * 1e3:.0f} ms")
        if self._report(0.0) is None:
            outcome.wrong.append(f"nobody said '{fault.reported}'")
        broken = self._scene.robot.truth()["violations"] - self._violations
        if broken:
            outcome.wrong.append(f"{broken} commands were beyond the robot's limits")


def _until(look: Callable[[], T | None], timeout_s: float) -> T | None:
    """What `look` gives as soon as that is not None; None if it takes too long."""
    end_s = time.monotonic() + timeout_s
    while (found := look()) is None and time.monotonic() < end_s:
        time.sleep(LOOK_S)
    return found
