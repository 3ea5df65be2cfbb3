"""One sitting with a robot in real time: connect, stand up, walk and log, stop, damp. What a person at a robot does, one method each.

Methods that move the robot give a Future: they are done in the control thread, which turns the control cycle meanwhile. `estop` acts at
once, from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from robot import go1
from robot.control_cycle import ControlCycle, Period
from robot.control_loop import ControlLoop, Policy
from robot.control_thread import ControlThread
from robot.driver import RobotDriver, VelocitySource
from robot.health import unguarded
from robot.log.episode import EpisodeAttributes
from robot.log.recorder import Recorder, Recording
from robot.pace import RealTime
from robot.policy.speed import require_quick
from robot.run_episode import EpisodePlan, EpisodeSummary, run_episode, stand_up
from robot.supervisor import Mode, ModeError, Supervisor

T = TypeVar("T")

REST_TIMEOUT_S = 5.0


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
        pace: RealTime | None = None,
    ) -> None:
        self.loop = ControlLoop(policy, Supervisor(policy.metadata.kp, policy.metadata.kd), rng)
        self.pace = pace or RealTime()
        self.cycle = ControlCycle(driver, velocity, self.loop, self.pace, *([observe] if observe else []))
        self.thread = ControlThread(self.cycle, on_failure)
        self._recorder, self._attributes = recorder, attributes
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of requests
        self._newest: Future[Any] | None = None
        self._handing_over = False  # a request that `_newest` does not tell of yet
        self._permitted = True

    @property
    def mode(self) -> Mode:
        """What the motors are doing."""
        return self.loop.mode

    def connect(self) -> None:
        """Open the driver and begin to turn the control cycle; the motors are at rest. SlowPolicyError before that."""
        require_quick(self.loop.policy)
        self.cycle.driver.connect()
        self.thread.start()

    def stand(self) -> Future[None]:
        """Stand up and hold; ModeError at once if another request is not done, in the Future if the robot may not or cannot stand.

        A robot that is held back does not sink on that account: it stays in STAND, and may be asked again.
        """
        with self._lock:
            self._refuse_if_busy()
            return self._request(lambda: stand_up(self.cycle))

    def walk(self, plan: EpisodePlan, path: Path | None) -> Future[EpisodeSummary]:
        """One episode: see run_episode. Logged to `path` if that is given and there is a recorder. `stop` ends it before its time.

        ModeError at once if another request is not done or the guardian has died, what Recorder.begin raises if it cannot be logged; the
        rest in the Future.
        """
        with self._lock:
            self._refuse_if_busy()
            if why := unguarded(self.cycle.driver):
                raise ModeError(why)
            log = self._begin(path)  # in the caller's thread: it looks at the disk, for which the control loop does not wait
            self._stop.clear()
            stoppable = replace(plan, should_stop=lambda: self._stop.is_set() or plan.should_stop())
            return self._request(lambda: run_episode(self.cycle, stoppable, log), log)

    def stop(self) -> None:
        """End the episode that runs: the robot slows down for a second at most, then it stands. `estop` is at once."""
        self._stop.set()

    def estop(self) -> None:
        """Damp the robot at once, whatever it does."""
        self.loop.request_estop()

    def rearm(self) -> Future[None]:
        """Leave damping, by a person's hand only: ModeError in the Future if the robot is not damped, at once as for `stand`.

        Requests do not queue, so that none is granted later, when the robot is no longer what the person looked at.
        """
        with self._lock:
            self._refuse_if_busy()
            return self._request(self.loop.rearm)

    def await_rest(self, timeout_s: float = REST_TIMEOUT_S) -> None:
        """Return once a damped robot lies still, so that `rearm` is not refused; at once if it is not damped, or nobody damps it."""
        end_s = time.monotonic() + timeout_s
        while self.thread.running and self.loop.supervisor.sinking and time.monotonic() < end_s:
            time.sleep(go1.CONTROL_DT)

    def permit(self) -> None:
        """Let requests move the robot, as they may from the start."""
        self._permitted = True

    def forbid(self) -> None:
        """Let none, and damp the robot if it has torque or a request is about to give it some."""
        self._permitted = False
        if self._busy() or self.mode is not Mode.PASSIVE:
            self.estop()

    def close(self) -> None:
        """Damp the robot, end the thread, disconnect; motors that were at rest are left so. Idempotent."""
        self.thread.close()
        self.cycle.driver.close()

    def _request(self, job: Callable[[], T], log: Recording | None = None) -> Future[T]:
        """Have `job` done if it is permitted; `log` is left whatever comes of it."""

        def permitted() -> T:
            with log or nullcontext():
                if not self._permitted:
                    raise ModeError("the robot may not move now")
                return job()

        self._handing_over = True  # before the job can run: `forbid` takes no lock
        try:
            self._newest = future = self.thread.submit(permitted)
        finally:
            self._handing_over = False
        if log is not None:
            future.add_done_callback(lambda _: log.leave())  # of a job that was never begun
        return future

    def _busy(self) -> bool:
        """Whether a request is under way. In this order: the flag is cleared only once `_newest` tells of it."""
        return self._handing_over or (self._newest is not None and not self._newest.done())

    def _refuse_if_busy(self) -> None:
        if self._busy():
            raise ModeError(f"another request is not done; the robot is {self.mode.value}: stop it first")

    def _begin(self, path: Path | None) -> Recording | None:
        if path is None or self._recorder is None:
            return None
        return self._recorder.begin(path, self._attributes)

    def __enter__(self) -> Session:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
