"""A still robot in real time, turned by the control thread."""

import itertools
import threading
import time
from concurrent.futures import CancelledError, Future

import pytest

from robot import control_loop, control_thread
from robot.command import trot_command
from robot.control_cycle import ControlCycle
from robot.control_loop import CommandError, ControlLoop
from robot.control_thread import ControlThread
from robot.driver import DriverError
from robot.pace import RealTime
from robot.run_episode import EpisodePlan, run_episode, stand_up
from robot.still_driver import StillDriver, StillPolicy, StillVelocity
from robot.supervisor import DAMPING_KD, Mode, ModeError, SafetyEvent, Supervisor

PATIENCE_S = 10.0


class Watched(StillDriver):
    """Tells who reads, and fails when it is told to."""

    def __init__(self):
        super().__init__(clock=time.monotonic)
        self.reads, self.readers, self.failure, self.writes = 0, set(), None, []

    def read(self):
        self.reads += 1
        self.readers.add(threading.current_thread().name)
        if self.failure is not None:
            raise self.failure
        return super().read()

    def write(self, command):
        self.writes.append(command)
        return super().write(command)


@pytest.fixture(autouse=True)
def in_a_test(monkeypatch):
    """The priority and the locked memory of common.realtime would outlast the test; a still robot stands up at once."""
    monkeypatch.setattr(control_thread, "prioritise", lambda priority: ["refused in tests"])
    monkeypatch.setattr(control_loop, "STAND_TIME_S", 0.1)


@pytest.fixture
def driver():
    driver = Watched()
    driver.connect()
    return driver


@pytest.fixture
def make(driver):
    """Makes a thread that has started."""
    made = []

    def started(on_failure=None, policy=None):
        loop = ControlLoop(policy or StillPolicy(), Supervisor(20.0, 0.5))
        thread = ControlThread(ControlCycle(driver, StillVelocity(), loop, RealTime()), on_failure)
        made.append(thread)
        thread.start()
        return thread

    yield started
    for thread in made:
        thread.close()
        assert not thread.running


def until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.005)


def result(future):
    return future.result(PATIENCE_S)


def error_of(future):
    return future.exception(PATIENCE_S)


def assert_damped(command):
    assert not command.kp.any() and (command.kd == DAMPING_KD).all()


def test_the_cycle_turns_without_a_job_and_in_its_own_thread(make, driver):
    thread = make()
    until(lambda: driver.reads >= 5)
    assert thread.running and driver.readers == {"control"} and thread.error is None
    assert thread.cycle.loop.mode is Mode.PASSIVE and thread.refused == ["refused in tests"]


def test_a_job_is_done_in_the_thread_and_its_result_comes_back(make):
    thread = make()
    assert thread.call(lambda: threading.current_thread().name) == "control"
    assert result(thread.submit(lambda: 7)) == 7


def test_the_cycle_turns_between_two_jobs(make, driver):
    thread = make()
    reads = [future.result(PATIENCE_S) for future in [thread.submit(lambda: driver.reads) for _ in range(5)]]
    assert all(after > before for before, after in itertools.pairwise(reads))


def test_a_job_may_turn_the_cycle_itself(make):
    thread = make()
    thread.call(lambda: stand_up(thread.cycle))
    assert thread.cycle.loop.mode is Mode.READY
    until(lambda: thread.cycle.loop.last_tick.mode is Mode.READY)


def test_an_episode_is_a_job_and_leaves_the_robot_standing(make):
    thread = make()
    summary = thread.call(lambda: run_episode(thread.cycle, EpisodePlan(10, lambda _: trot_command()), None))
    assert summary.steps == 10 and thread.cycle.loop.mode is Mode.READY


def test_an_error_in_a_job_goes_to_its_caller_and_leaves_the_robot_damped_and_turned(make, driver):
    thread = make()
    thread.call(lambda: stand_up(thread.cycle))
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 / 0)
    assert thread.cycle.loop.mode is Mode.DAMPING and thread.cycle.loop.supervisor.cause == SafetyEvent.FAULT
    assert_damped(driver.sent)
    reads = driver.reads
    until(lambda: driver.reads > reads + 3)
    assert thread.running and thread.error is None and thread.call(lambda: 7) == 7


def test_an_error_in_an_episode_damps_the_robot_too(make, driver):
    thread = make()

    def command_at(step):
        if step == 3:
            raise RuntimeError("the stick broke")
        return trot_command()

    with pytest.raises(RuntimeError, match="the stick broke"):
        thread.call(lambda: run_episode(thread.cycle, EpisodePlan(10, command_at), None))
    assert thread.cycle.loop.mode is Mode.DAMPING and thread.running
    assert_damped(driver.sent)


def test_a_driver_that_fails_in_a_job_damps(make, driver):
    thread = make()
    thread.call(lambda: stand_up(thread.cycle))

    def fails_once():
        raise DriverError("no answer")

    assert isinstance(error_of(thread.submit(fails_once)), DriverError)
    assert thread.cycle.loop.mode is Mode.DAMPING and thread.running


@pytest.mark.parametrize("refusal", [ModeError("not now"), CommandError("too fast")])
def test_a_refusal_changes_nothing(make, refusal):
    thread = make()
    thread.call(lambda: stand_up(thread.cycle))

    def refuse():
        raise refusal

    assert error_of(thread.submit(refuse)) is refusal
    assert thread.cycle.loop.mode is Mode.READY and thread.running


def test_standing_up_is_refused_while_damped(make):
    thread = make()
    thread.cycle.loop.request_estop()
    assert isinstance(error_of(thread.submit(lambda: stand_up(thread.cycle))), ModeError)
    until(lambda: not thread.cycle.loop.supervisor.sinking)
    thread.call(thread.cycle.loop.rearm)
    thread.call(lambda: stand_up(thread.cycle))
    assert thread.cycle.loop.mode is Mode.READY


def test_an_error_in_an_idle_turn_ends_the_thread_damped_and_is_told(make, driver):
    told = []
    thread = make(told.append)
    thread.call(lambda: stand_up(thread.cycle))
    driver.failure = DriverError("the cable is off")
    until(lambda: not thread.running)
    assert told == [driver.failure] and thread.error is driver.failure
    assert_damped(driver.writes[-1])
    assert thread.cycle.loop.mode is Mode.DAMPING


def test_jobs_that_wait_when_the_thread_ends_get_its_error(make, driver):
    thread = make()
    busy, go_on = threading.Event(), threading.Event()

    def hold():
        busy.set()
        assert go_on.wait(PATIENCE_S)

    first = thread.submit(hold)
    assert busy.wait(PATIENCE_S)
    waiting = [thread.submit(lambda: 7) for _ in range(3)]
    driver.failure = DriverError("the cable is off")
    go_on.set()
    assert result(first) is None
    assert [error_of(future) for future in waiting] == [driver.failure] * 3
    until(lambda: not thread.running)
    assert error_of(thread.submit(lambda: 7)) is driver.failure


def test_something_worse_than_an_error_in_a_job_ends_the_thread_and_reaches_everybody(make, driver):
    told = []
    thread = make(told.append)

    def leave():
        raise SystemExit(3)

    future = thread.submit(leave)
    assert isinstance(error_of(future), SystemExit)
    until(lambda: not thread.running)
    assert isinstance(thread.error, SystemExit) and told == [thread.error]
    assert_damped(driver.writes[-1])


def test_a_cancelled_job_is_not_done_and_harms_nobody(make):
    thread = make()
    busy, go_on, done = threading.Event(), threading.Event(), []

    def hold():
        busy.set()
        assert go_on.wait(PATIENCE_S)

    thread.submit(hold)
    assert busy.wait(PATIENCE_S)
    cancelled, after = thread.submit(lambda: done.append("cancelled")), thread.submit(lambda: done.append("after"))
    assert cancelled.cancel()
    go_on.set()
    result(after)
    assert done == ["after"] and thread.running
    with pytest.raises(CancelledError):
        cancelled.result(0)


def test_a_job_that_was_cancelled_when_the_thread_ended_harms_nobody(make):
    thread = make()
    busy, go_on = threading.Event(), threading.Event()

    def hold():
        busy.set()
        assert go_on.wait(PATIENCE_S)

    thread.submit(hold)
    assert busy.wait(PATIENCE_S)
    cancelled, refused = thread.submit(lambda: 7), thread.submit(lambda: 7)
    cancelled.cancel()
    thread._closing.set()
    go_on.set()
    until(lambda: not thread.running)
    assert thread.error is None and str(error_of(refused)) == "the control thread has ended"


def test_close_damps_and_ends(make, driver):
    thread = make()
    thread.call(lambda: stand_up(thread.cycle))
    thread.close()
    thread.close()  # idempotent
    assert not thread.running and thread.error is None
    assert len(driver.writes) >= 5
    for command in driver.writes[-5:]:
        assert_damped(command)
    assert thread.cycle.loop.supervisor.cause == SafetyEvent.ESTOP
    with pytest.raises(RuntimeError, match="the control thread has ended"):
        thread.call(lambda: 7)


def test_close_ends_an_episode_that_runs(make, driver):
    thread = make()
    begun = threading.Event()

    def command_at(step):
        begun.set()
        return trot_command()

    episode = thread.submit(lambda: run_episode(thread.cycle, EpisodePlan(100_000, command_at), None))
    assert begun.wait(PATIENCE_S)
    thread.close()
    assert result(episode).ended == "safety"
    assert_damped(driver.writes[-1])


def test_whoever_is_told_of_a_failure_may_close(driver, make):
    closed = Future()

    def on_failure(error):
        thread.close()
        closed.set_result(None)

    thread = make(on_failure)
    driver.failure = DriverError("the cable is off")
    closed.result(PATIENCE_S)
    until(lambda: not thread.running)


def test_a_thread_that_was_never_started_refuses_and_closes(driver):
    loop = ControlLoop(StillPolicy(), Supervisor(20.0, 0.5))
    thread = ControlThread(ControlCycle(driver, StillVelocity(), loop, RealTime()))
    assert str(error_of(thread.submit(lambda: 7))) == "the control thread has ended"
    thread.close()
    assert not thread.running


def test_no_job_is_forgotten_however_close_to_the_end_it_comes(make, driver):
    """Many threads submit while the control thread ends: every Future is resolved."""
    for _ in range(5):
        thread = make()
        futures, stop = [], threading.Event()

        def submit(thread=thread, futures=futures, stop=stop):
            while not stop.is_set():
                futures.append(thread.submit(lambda: 7))
                time.sleep(0.0005)

        submitters = [threading.Thread(target=submit) for _ in range(3)]
        for submitter in submitters:
            submitter.start()
        time.sleep(0.05)
        thread.close()
        time.sleep(0.02)
        stop.set()
        for submitter in submitters:
            submitter.join()
        for future in futures:
            assert future.exception(PATIENCE_S) is None or isinstance(future.exception(), RuntimeError)
