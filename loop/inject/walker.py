"""The control process of a rehearsal: it drives a simulated robot as the control process of a robot does, and goes wrong to order.

    python -m loop.inject.walker SETTINGS

started by walker_process.py. SETTINGS is the JSON of `Settings`. Orders come on standard input, news go to standard output, each a
JSON object on a line. It ends, and damps the robot, when its standard input ends. The processes at the motors, the recorder's and the
camera's are those that run on a robot; what goes wrong to order is put around the policy, the velocity source and the clock.
"""

from __future__ import annotations

import json
import select
import sys
import time
from collections import deque
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from common.array_types import Float32Array
from common.realtime import prepare_control_process, spare_the_garbage_collector
from robot import go1
from robot.control_cycle import Period
from robot.control_loop import STAND_TIME_S, Policy, PolicyContract
from robot.driver import BaseVelocity, DriverError, RobotState, VelocitySource, fault_names
from robot.gait import Gait
from robot.log.episode import EpisodeAttributes
from robot.log.recorder import Recorder
from robot.pace import RealTime
from robot.policy.artifact import load_artifact
from robot.policy.metadata import layout_json
from robot.run_episode import LONGEST_STEPS, STOP_S, EpisodePlan, EpisodeSummary
from robot.session import Session
from robot.stick import Stick, VelocityLimits
from robot.still_driver import StillPolicy
from robot.supervisor import Mode, event_names
from robot.unitree.driver import Go1Config, Go1Driver
from robot.unitree.sdk_port import Address
from robot.velocity.legs import LegVelocity
from robot.velocity.t265_process import T265Process
from robot.velocity.watched import WatchedVelocity

EXIT_INTERRUPTED = 130
LOOK_S = 0.02
FEED_S = 0.05  # a joystick's rate
SPEED = 0.5  # m/s
EPISODE_END_S = STOP_S + STAND_TIME_S + 0.5
CAPACITY_ROWS = 100  # 2 s, so that nobody waits for 10 s until a recorder that stands still shows
REHEARSED = "rehearsed"
ACTIONS = {"nan": np.nan, "infinite": np.inf, "huge": 1e6}


@dataclass(frozen=True)
class Settings:
    """Where the robot and its camera are, and who acts."""

    port: int
    local_port: int
    module: str
    camera: str
    policy: str  # a file; "" stands still


@dataclass
class Mischief:
    """What is wrong with the control process; stays until the next walk."""

    action: str = ""  # what the policy answers, a name in ACTIONS
    policy_raises: bool = False
    velocity_raises: bool = False
    think_s: float = 0.0  # how long the policy takes for its next answer
    clock_s: float = 0.0  # how far off the clock is
    silent: bool = False  # nobody holds the stick


MISCHIEF = tuple(field.name for field in fields(Mischief))


class WilfulPolicy:
    """A policy that goes wrong to order."""

    def __init__(self, policy: Policy, mischief: Mischief) -> None:
        self._policy, self._mischief = policy, mischief

    @property
    def metadata(self) -> PolicyContract:
        """The policy's."""
        return self._policy.metadata

    def act(self, observation_history: Float32Array, /) -> tuple[Float32Array, Float32Array]:
        """The policy's mean and std (12,), or what was ordered."""
        mischief = self._mischief
        mean, std = self._policy.act(observation_history)
        think_s, mischief.think_s = mischief.think_s, 0.0
        time.sleep(think_s)
        if mischief.policy_raises:
            raise RuntimeError(REHEARSED)
        return (np.full_like(mean, ACTIONS[mischief.action]) if mischief.action else mean), std


class WilfulVelocity:
    """A velocity source that goes wrong to order."""

    def __init__(self, source: VelocitySource, mischief: Mischief) -> None:
        self._source, self._mischief = source, mischief
        self.name = source.name

    def read(self, state: RobotState) -> BaseVelocity:
        """The source's reading."""
        if self._mischief.velocity_raises:
            raise RuntimeError(REHEARSED)
        return self._source.read(state)


class WilfulClock(RealTime):
    """A clock that jumps to order."""

    def __init__(self, mischief: Mischief) -> None:
        super().__init__()
        self._mischief = mischief

    def now(self, state: RobotState) -> float:
        """time.monotonic(), or off."""
        return super().now(state) + self._mischief.clock_s


class News:
    """What has changed, as it will be printed. `note` belongs to any thread, but each subject to one; `tell` to the main thread."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._untold: deque[dict[str, Any]] = deque()

    def note(self, about: str, says: Any) -> None:
        """Tell it if it is new."""
        if self._last.get(about) != says:
            self._last[about] = says
            self._untold.append({"stamp_s": time.monotonic(), "about": about, "says": says})

    def tell(self) -> None:
        """Print what has not been told."""
        while self._untold:
            print(json.dumps(self._untold.popleft()))
        sys.stdout.flush()


class Walker:
    """The session with the robot. `turn` is one look of the main thread; the control thread looks after itself."""

    def __init__(self, settings: Settings, closing: ExitStack) -> None:
        self.mischief, self.news = Mischief(), News()
        self._episode: Future[EpisodeSummary] | None = None
        self._missed = 0  # periods, before this walk
        self._stick, self._fed_s = Stick(VelocityLimits(), Gait()), 0.0
        self._camera = T265Process(settings.camera)
        closing.callback(self._camera.close)
        self._recorder = closing.enter_context(Recorder(CAPACITY_ROWS))
        address = Address("127.0.0.1", settings.port, settings.local_port)
        self._driver = Go1Driver(Go1Config(address, module=settings.module))
        self._velocity = WatchedVelocity(self._camera.velocity(np.zeros(3)), LegVelocity())
        self._session = self._make_session(settings.policy)
        closing.callback(self._session.close)
        spare_the_garbage_collector()
        self._session.connect()

    def turn(self) -> None:
        """Hold the stick, look, tell."""
        now = time.monotonic()
        if now - self._fed_s >= FEED_S and not self.mischief.silent:
            self._stick.receive(SPEED, 0.0, 0.0)
            self._fed_s = now
        self._look()
        self.news.tell()

    def obey(self, order: dict[str, Any]) -> None:
        """Walk and record to a file, stop walking, stop at once, be armed again, or go wrong."""
        if "walk" in order:
            self._walk(Path(order.pop("walk")))
        for name, act in (("stop", self._session.stop), ("estop", self._session.estop), ("rearm", self._rearm)):
            if order.pop(name, False):
                act()
        for name, value in order.items():
            if name not in MISCHIEF:
                raise KeyError(f"no order '{name}'")
            setattr(self.mischief, name, value)

    def _await_episode(self) -> None:
        """Requests are refused while an episode that was damped has not yet closed its log."""
        if self._episode is not None:
            wait([self._episode], EPISODE_END_S)

    def _rearm(self) -> None:
        self._await_episode()
        self._session.await_rest()
        self._session.rearm()

    def _walk(self, path: Path) -> None:
        self._await_episode()
        for field in fields(Mischief):
            setattr(self.mischief, field.name, field.default)
        self._missed = self._session.pace.missed
        self.news.note("episode", "begun")
        self.news.note("log", "")
        plan = EpisodePlan(LONGEST_STEPS, lambda _: self._stick.command(time.monotonic()))
        self._episode = self._session.walk(plan, path)

    def _make_session(self, policy: str) -> Session:
        artifact = load_artifact(Path(policy)) if policy else None
        acting: Policy = artifact or StillPolicy()
        velocity = WilfulVelocity(self._velocity, self.mischief)
        attributes = EpisodeAttributes(
            go1.NAME, artifact.sha256 if artifact else "", go1.CONTROL_DT, layout_json(acting.metadata.layout), "{}",
            "rehearsal", "twin", velocity_source=velocity.name,
        )  # fmt: skip
        return Session(
            self._driver, velocity, WilfulPolicy(acting, self.mischief), None, self._recorder, attributes,
            observe=self._observe, pace=WilfulClock(self.mischief),
        )  # fmt: skip

    def _observe(self, period: Period) -> None:
        """In the control thread."""
        note = self.news.note
        note("mode", period.tick.mode.value)
        note("safety", event_names(period.tick.events))
        note("faults", fault_names(period.state.faults))
        note("velocity", str(self._velocity.report))
        note("command", f"{period.command[0]:.2f} m/s" if period.tick.mode is Mode.POLICY else "")
        note("missed periods", self._session.pace.missed - self._missed or "")

    def _look(self) -> None:
        note, session = self.news.note, self._session
        status, camera = self._recorder.status, self._camera.status
        note("recorder", status.error or ("alive" if status.alive else "dead"))
        note("camera", "connected" if camera.connected else camera.error or "silent")
        note("thread", "" if session.thread.error is None else f"ended: {session.thread.error}")
        if self._episode is not None and self._episode.done():
            note("episode", _end_of(self._episode))
            whole = self._episode.exception() is None and self._recorder.wait_finished(0.0)
            note("log", "whole" if whole else "not whole yet")
        with suppress(DriverError):
            note("guarded", self._driver.status.guarded)
        note("pids", self._driver.pids | {"recorder": self._recorder.pid, "camera": self._camera.pid})


def _end_of(episode: Future[EpisodeSummary]) -> str:
    error = episode.exception()
    return f"ended by {episode.result().ended}" if error is None else f"ended by an exception: {error}"


def main(arguments: list[str]) -> int:
    """The process."""
    prepare_control_process()
    with ExitStack() as closing:
        orders = closing.enter_context(open(0, "rb", buffering=0))
        try:
            walker = Walker(Settings(**json.loads(arguments[0])), closing)
            while True:
                if select.select([orders], [], [], LOOK_S)[0]:
                    line = orders.readline()
                    if not line:
                        return 0
                    walker.obey(json.loads(line))
                walker.turn()
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
