"""One sitting with a robot in real time: connect, stand up, walk and log, stop, damp. What a person at a robot does, one method each.

Methods that move the robot give a Future: they are done in the control thread, which turns the control cycle meanwhile. `estop` acts at
once, from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from robot.control_cycle import ControlCycle, Period
from robot.control_loop import ControlLoop, Policy
from robot.control_thread import ControlThread
from robot.driver import RobotDriver, VelocitySource
from robot.episode import EpisodeAttributes
from robot.pace import RealTime
from robot.recorder import Recorder
from robot.run_episode import EpisodePlan, EpisodeSink, EpisodeSummary, run_episode, stand_up
from robot.supervisor import Mode, Supervisor

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11


class Session:
    """A robot, a policy, and a recorder that logs its episodes (None logs nothing). Enter it to connect; leaving it damps the robot.

    `rng` draws the actions; None acts with the mean. `attributes` go into every log. `observe` is told of every period, in the control
    thread; `on_failure` of an exception that ended that thread.
    """

    def __init__(
        self,
        driver: RobotDriver,
        velocity: VelocitySource,
        policy: Policy,
        rng: np.random.Generator | None,
        recorder: Recorder | None,
        attributes: EpisodeAttributes,
        observe: Callable[[Period], None] | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.loop = ControlLoop(policy, Supervisor(policy.metadata.kp, policy.metadata.kd), rng)
        self.pace = RealTime()
        self.cycle = ControlCycle(driver, velocity, self.loop, self.pace, *([observe] if observe else []))
        self.thread = ControlThread(self.cycle, on_failure)
        self._recorder, self._attributes = recorder, attributes
        self._stop = threading.Event()

    @property
    def mode(self) -> Mode:
        """What the motors are doing."""
        return self.loop.mode

    def connect(self) -> None:
        """Open the driver and begin to turn the control cycle; the motors have no torque."""
        self.cycle.driver.connect()
        self.thread.start()

    def stand(self) -> Future[None]:
        """Stand up and hold; ModeError in the Future if that is not possible."""
        return self.thread.submit(lambda: stand_up(self.cycle))

    def walk(self, plan: EpisodePlan, path: Path | None) -> Future[EpisodeSummary]:
        """One episode: see run_episode. Logged to `path` if that is given and there is a recorder. `stop` ends it before its time."""
        self._stop.clear()
        stoppable = replace(plan, should_stop=lambda: self._stop.is_set() or plan.should_stop())

        def episode() -> EpisodeSummary:
            with self._log(path) as log:
                return run_episode(self.cycle, stoppable, log)

        return self.thread.submit(episode)

    def stop(self) -> None:
        """End the episode that runs; the robot stands still."""
        self._stop.set()

    def estop(self) -> None:
        """Damp the robot at once, whatever it does."""
        self.loop.request_estop()

    def rearm(self) -> Future[None]:
        """Leave damping, by a person's hand only: ModeError in the Future if the robot is not damped."""
        return self.thread.submit(self.loop.rearm)

    def close(self) -> None:
        """Damp the robot, end the thread, disconnect. Idempotent."""
        self.thread.close()
        self.cycle.driver.close()

    def _log(self, path: Path | None) -> AbstractContextManager[EpisodeSink | None]:
        if path is None or self._recorder is None:
            return nullcontext()
        return self._recorder.begin(path, self._attributes)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
