"""A robot's control cycle at 50 Hz in a thread of its own, from before it stands up until after it lies down.

A real robot must be told something in every period: motors that hear nothing for 0.15 s are damped. So the cycle turns all the time, and
what is to be done with the robot (an episode, standing up) is a job that is handed to this thread, which turns the cycle meanwhile.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from common.errors import QuadloopError
from common.realtime import Priority, prioritise
from robot.control_cycle import ControlCycle
from robot.driver import DriverError

T = TypeVar("T")

CLOSE_TIMEOUT_S = 2.0
_LAST_PERIODS = 5  # of damping, before the thread ends


class ControlThread:
    """Turns `cycle`, whose driver is connected, until `close`. `error` tells why it ended by itself, if it did; then the robot is damped.

    `on_failure` is called in this thread when it ends by itself.
    """

    def __init__(self, cycle: ControlCycle, on_failure: Callable[[BaseException], None] | None = None) -> None:
        self.cycle, self._on_failure = cycle, on_failure
        self.error: BaseException | None = None
        self.refused: list[str] = []  # what the operating system refused, see common.realtime
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._turning, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to turn."""
        self._turning.set()
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the cycle is turned."""
        return self._thread.is_alive()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Have `job` done in the control thread: something quick, or something that turns the cycle itself, as run_episode does.

        Its exception goes into the Future. A refusal (any QuadloopError but DriverError) changes nothing; anything else damps the
        robot, and the cycle goes on turning.
        """
        future: Future[T] = Future()
        self._jobs.put((job, future))
        if not self._turning.is_set():  # looked at after the job was left: either the thread sees it, or it is refused here
            self._refuse_jobs()
        return future

    def call(self, job: Callable[[], T]) -> T:
        """`submit`, and wait for its result or exception."""
        return self.submit(job).result()

    def close(self) -> None:
        """Damp the robot and end the thread. An episode that runs is ended by the damping. Idempotent; `on_failure` may call it."""
        self.cycle.loop.request_estop()
        self._closing.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self.refused = prioritise(Priority.CONTROL)
            while not self._closing.is_set():
                self._do_job()
                self._turn()
            for _ in range(_LAST_PERIODS):
                self._turn()
        except BaseException as error:
            self.error = error
            self.cycle.damp()
            if self._on_failure is not None:
                self._on_failure(error)
        finally:
            self._turning.clear()
            self._refuse_jobs()

    def _turn(self) -> None:
        self.cycle.turn()
        self.cycle.wait()

    def _do_job(self) -> None:
        """The next job, if there is one that its caller has not cancelled."""
        try:
            job, future = self._jobs.get_nowait()
        except queue.Empty:
            return
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = job()
        except BaseException as error:
            if not isinstance(error, QuadloopError) or isinstance(error, DriverError):
                self.cycle.damp()
            future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            future.set_result(result)

    def _refuse_jobs(self) -> None:
        while True:
            try:
                _, future = self._jobs.get_nowait()
            except queue.Empty:
                return
            if future.set_running_or_notify_cancel():
                future.set_exception(RuntimeError("the control thread has ended") if self.error is None else self.error)
