"""A sitting at a robot: check, stand up, walk N episodes, damp; each motion confirmed, a fall put right by a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import numpy as np

from common.errors import QuadloopError
from loop.collect.operator import Operator, Stopped
from loop.collect.velocity_account import VelocityAccount
from robot import go1
from robot.driver import DriverError, fault_names
from robot.forward_commands import ForwardCommands
from robot.health import must_reconnect
from robot.log.recorder import Recorder
from robot.run_episode import EpisodeSummary, HeldBackError
from robot.session import Session
from robot.station import STAND_ATTEMPTS
from robot.supervisor import Mode, ModeError, event_names
from robot.velocity.t265 import FIRST_POSE_S

REQUEST_TIMEOUT_S = 5.0
WRITTEN_TIMEOUT_S = 30.0
FAULTS_GONE_S = 0.5
READ_S = 5 * go1.CONTROL_DT  # by then a control cycle that has just begun to turn has read everything once

T = TypeVar("T")


class Sitting:
    """`run` is the whole of it. `lay_down` puts a simulated robot on its belly; None leaves that to the person.

    `lost` counts the episodes whose log is not whole on disk; `velocity` knows where the velocity came from.
    """

    def __init__(
        self, session: Session, recorder: Recorder, operator: Operator, lay_down: Callable[[], object] | None, directory: Path
    ) -> None:
        self.session, self._operator, self._lay_down, self._directory = session, operator, lay_down, directory
        self._recorder = recorder
        self.velocity = VelocityAccount(session.cycle.velocity)
        self.episodes = self.steps = self.falls = self.lost = 0
        self._refused: list[str] = []  # by the operating system, as far as it has been told
        self._tracker_had_its_time = False

    def run(self, episodes: int, max_steps: int, commands: ForwardCommands, rng: np.random.Generator) -> None:
        """Up to `episodes` of up to `max_steps` control steps; ends with the robot damped. The person may end it at any question."""
        attempts = 0
        try:
            while self.episodes < episodes:
                try:
                    self._get_up()
                    self._walk(episodes, max_steps, commands, rng)
                    attempts = 0
                except ModeError as error:  # it was damped on its way up, or while the person thought
                    attempts += 1
                    if isinstance(error, HeldBackError):  # it still pushes
                        self.session.estop()
                        self._await_damped()
                    if self.session.mode is not Mode.DAMPING or attempts == STAND_ATTEMPTS:
                        raise
                    self._operator.tell(str(error))
        except Stopped as why:
            self._operator.tell(str(why))
        self.session.estop()  # it sinks to the floor
        self._await_damped()
        damped = self.session.mode is Mode.DAMPING
        self._operator.tell("The robot is damped." if damped else "The robot was told to damp and has not said that it does: press B.")

    def _walk(self, episodes: int, max_steps: int, commands: ForwardCommands, rng: np.random.Generator) -> None:
        """One episode, if the robot still stands when the person agrees."""
        self._operator.confirm(
            f"Episode {self.episodes + 1} of {episodes}: forward at {commands.vx_low:g} to {commands.vx_high:g} m/s for up to "
            f"{max_steps * go1.CONTROL_DT:g} s. Clear the way; Enter stops the robot within a second, the remote's B damps it at once."
        )
        if self.session.mode is not Mode.READY:  # it fell, or was damped, while the person thought
            return
        plan = commands.draw(max_steps, rng)  # only here, so that the same seed gives the same walks however often a robot is put right
        log = self._directory / f"episode_{self.episodes:04d}.hdf5"
        self.velocity.begin()
        walk = self.session.walk(plan, log)
        if self._operator.wait(walk):
            self.session.stop()
        self._account(_outcome(walk, "the episode"), log)

    def _get_up(self) -> None:
        self.session.await_rest()
        self._check_connection()  # before the person lays a robot down that cannot be armed again
        if self.session.mode is Mode.DAMPING:
            self._put_right()
        if self.session.mode is not Mode.READY:
            self._check()
            self._operator.confirm("The robot will stand up. Keep your hands away; the remote's B damps it.")
            _outcome(self.session.stand(), "standing up", REQUEST_TIMEOUT_S)

    def _check_connection(self) -> None:
        """QuadloopError for what only a new connection, and so another session, can put right."""
        if self.session.thread.error is not None:
            raise QuadloopError(f"the control loop has ended and the robot is damped: {self.session.thread.error}")
        if why := must_reconnect(self.session.cycle.driver, self.session.cycle.state):
            raise DriverError(why)

    def _put_right(self) -> None:
        """After a fall or a stop: a person looks at the robot before it is armed again."""
        state = self.session.cycle.state
        causes = event_names(self.session.loop.supervisor.cause), fault_names(state.faults) if state is not None else ""
        why = ", ".join(filter(None, causes))
        self._operator.confirm(f"The robot is damped ({why}). Lay it on its belly with its legs folded and look it over.")
        if self._lay_down is not None:
            self._lay_down()
        _outcome(self.session.rearm(), "re-arming", REQUEST_TIMEOUT_S)
        self._await_no_fault()

    def _await_damped(self) -> None:
        """Until the control thread has seen that it must."""
        end_s = time.monotonic() + FAULTS_GONE_S
        while self.session.mode is not Mode.DAMPING and time.monotonic() < end_s:
            time.sleep(go1.CONTROL_DT)

    def _await_no_fault(self) -> None:
        """A fault that is over is still told by the state that was read last; one that lasts is for `_check` to name."""
        end_s = time.monotonic() + FAULTS_GONE_S
        while (state := self.session.cycle.state) is not None and state.faults and time.monotonic() < end_s:
            time.sleep(go1.CONTROL_DT)

    def _await_tracker(self) -> None:
        """A camera that has just been started may need seconds for its first pose; once it has had them, there is nothing to wait for."""
        if self._tracker_had_its_time:
            return
        self._tracker_had_its_time = True
        time.sleep(READ_S)
        end_s = time.monotonic() + FIRST_POSE_S
        while not self.velocity.trusted and time.monotonic() < end_s:
            time.sleep(go1.CONTROL_DT)

    def _check(self) -> None:
        """What must be right before the robot stands up; QuadloopError with what is not."""
        state, driver = self.session.cycle.state, self.session.cycle.driver
        if (status := driver.status) is not None:
            self._operator.tell(f"battery {status.battery_percent} %, hottest motor {status.max_temperature} C, {status.cycles} cycles")
        if state is not None and state.faults:
            raise DriverError(f"the robot would not stand: {fault_names(state.faults)}; see docs/robot.md")
        for refused in self.session.thread.refused:
            if refused not in self._refused:
                self._refused.append(refused)
                self._operator.tell(f"{refused}; a busy computer may damp the robot under way")
        self._await_tracker()
        self._tell_if_any(self.velocity.line())

    def _account(self, summary: EpisodeSummary, log: Path) -> None:
        self.episodes += 1
        self.steps += summary.steps
        self.falls += summary.fell
        tell = self._operator.tell
        tell(summary.line)
        if summary.invalid_velocity:
            tell(f"In {summary.invalid_velocity} of them the velocity was not measured: nothing is learnt from them; see docs/robot.md.")
        self._tell_if_any(self.velocity.end())
        self._recorder.wait_finished(WRITTEN_TIMEOUT_S)
        if summary.steps and not log.exists():
            self.lost += 1
            tell(f"The log is not whole: {self._recorder.status.error or 'the disk is too slow'}.")

    def _tell_if_any(self, line: str) -> None:
        if line:
            self._operator.tell(line)


def _outcome(request: Future[T], what: str, timeout_s: float | None = None) -> T:
    """Of a request, which is waited for; whatever is in its way is a QuadloopError. What failed in it has damped the robot already."""
    try:
        return request.result(timeout_s)
    except QuadloopError:
        raise
    except Exception as error:
        if not request.done():
            raise QuadloopError(f"the robot did not answer within {timeout_s:g} s") from error
        raise QuadloopError(f"{what} failed and the robot was damped: {error} ({type(error).__name__})") from error
