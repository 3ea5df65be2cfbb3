"""A sitting in real time, with a robot that stands still."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from robot.command import trot_command
from robot.driver import DriverError
from robot.log.episode import EpisodeAttributes
from robot.log.episode_log import read_episode
from robot.log.recorder import Recorder
from robot.observation import GO1_LAYOUT
from robot.policy.metadata import layout_json
from robot.policy.speed import SlowPolicyError
from robot.run_episode import EpisodePlan, stand_up
from robot.session import Session
from robot.still_driver import StillDriver, StillPolicy, StillVelocity
from robot.supervisor import Mode, ModeError, SafetyEvent

ATTRIBUTES = EpisodeAttributes(
    go1.NAME, "", go1.CONTROL_DT, layout_json(GO1_LAYOUT), "{}", "s", "still", velocity_source="still"
)  # fmt: skip
LONG = EpisodePlan(100_000, lambda _: trot_command())


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: [])
    with Session(StillDriver(clock=time.monotonic), StillVelocity(), StillPolicy(), None, None, ATTRIBUTES) as made:
        yield made


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_stand_walk_stop(session):
    session.stand().result(5)
    assert session.mode is Mode.READY
    walk = session.walk(LONG, None)
    until(lambda: session.mode is Mode.POLICY)
    session.stop()
    assert walk.result(5).ended == "operator" and session.mode is Mode.READY


def test_requests_do_not_queue_so_that_none_is_granted_after_a_stop(session):
    session.stand().result(5)
    walk = session.walk(LONG, None)
    until(lambda: session.mode is Mode.POLICY)
    for request in (session.rearm, session.stand, lambda: session.walk(LONG, None)):
        with pytest.raises(ModeError, match="another request is not done; the robot is policy"):
            request()
    session.estop()
    assert walk.result(5).ended == "safety"
    time.sleep(0.3)
    assert session.mode is Mode.DAMPING
    with pytest.raises(ModeError, match="wait until it lies still"):
        session.rearm().result(5)
    until(lambda: not session.loop.supervisor.sinking)
    assert session.mode is Mode.DAMPING
    session.rearm().result(5)
    assert session.mode is Mode.PASSIVE


def test_what_is_forbidden_does_not_begin_and_what_has_begun_is_damped(session):
    session.forbid()
    assert session.mode is Mode.PASSIVE  # nothing to damp
    with pytest.raises(ModeError, match="may not move"):
        session.stand().result(5)
    assert session.mode is Mode.PASSIVE
    session.permit()
    session.stand().result(5)
    session.forbid()
    until(lambda: session.mode is Mode.DAMPING)
    assert session.loop.supervisor.cause == SafetyEvent.ESTOP


def test_forbidden_between_the_request_and_the_first_motion_the_robot_does_not_get_up(session, monkeypatch):
    monkeypatch.setattr("robot.supervisor.SINKING_S", 0.0)  # not waited for
    for _ in range(20):
        request = session.stand()
        session.forbid()
        assert isinstance(request.exception(5), ModeError)
        assert session.mode in (Mode.PASSIVE, Mode.DAMPING)
        if session.mode is Mode.DAMPING:
            session.permit()
            session.rearm().result(5)
        session.permit()


def test_forbidden_while_a_request_is_handed_over_the_robot_does_not_get_up(session, monkeypatch):
    begun, forbidden, submit = threading.Event(), threading.Event(), session.thread.submit

    def submit_and_dawdle(job):
        future = submit(job)
        assert forbidden.wait(5)
        return future

    def stand_up_later(cycle):
        begun.set()
        assert forbidden.wait(5)
        stand_up(cycle)

    monkeypatch.setattr(session.thread, "submit", submit_and_dawdle)
    monkeypatch.setattr("robot.session.stand_up", stand_up_later)
    with ThreadPoolExecutor(1) as other:
        request = other.submit(session.stand)
        assert begun.wait(5)
        session.forbid()
        forbidden.set()
        assert isinstance(request.result(5).exception(5), ModeError)
    assert session.mode is Mode.DAMPING


class SlowPolicy(StillPolicy):
    def act(self, observation_history, /):
        time.sleep(0.01)
        return super().act(observation_history)


def test_a_policy_that_is_too_slow_is_refused_before_the_robot_is_connected():
    driver = StillDriver(clock=time.monotonic)
    with pytest.raises(SlowPolicyError, match="ms for an answer"):
        Session(driver, StillVelocity(), SlowPolicy(), None, None, ATTRIBUTES).connect()
    with pytest.raises(DriverError, match="not connected"):
        driver.read()


def test_a_robot_that_is_held_back_is_told_by_its_joint_and_stays_under_torque(session):
    driver, held = session.cycle.driver, np.where(np.arange(12) == 8, 1.0, 0.0)
    read = driver.read
    driver.read = lambda: replace(read(), joint_pos=go1.DEFAULT_JOINT_POS - held)
    with pytest.raises(ModeError, match=r"RL_calf_joint is 1\.00 rad from where it should be"):
        session.stand().result(5)
    assert session.mode is Mode.STAND
    driver.read = read
    session.stand().result(5)
    assert session.mode is Mode.READY


def test_a_walk_is_recorded_and_one_that_cannot_be_is_refused_before_it_begins(monkeypatch, tmp_path):
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: [])
    (tmp_path / "taken.hdf5").touch()
    with Recorder() as recorder:
        driver = StillDriver(clock=time.monotonic)
        with Session(driver, StillVelocity(), StillPolicy(), np.random.default_rng(0), recorder, ATTRIBUTES) as session:
            session.stand().result(5)
            with pytest.raises(Exception, match=r"taken\.hdf5 exists"):
                session.walk(LONG, tmp_path / "taken.hdf5")
            assert session.mode is Mode.READY
            summary = session.walk(EpisodePlan(20, lambda _: trot_command()), tmp_path / "walk.hdf5").result(5)
        assert recorder.wait_finished(5)
    assert summary.steps == len(read_episode(tmp_path / "walk.hdf5").actions) == 20


@pytest.mark.parametrize("refuse", [Session.forbid, Session.close])
def test_a_walk_that_is_refused_leaves_its_recording(monkeypatch, tmp_path, refuse):
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: [])
    part = tmp_path / "walk.hdf5.part"
    with Recorder() as recorder:
        with Session(StillDriver(clock=time.monotonic), StillVelocity(), StillPolicy(), None, recorder, ATTRIBUTES) as session:
            refuse(session)
            submit = session.thread.submit

            def submit_once_it_is_recorded(job):
                until(part.exists)
                return submit(job)

            monkeypatch.setattr(session.thread, "submit", submit_once_it_is_recorded)
            assert session.walk(LONG, tmp_path / "walk.hdf5").exception(5) is not None
            until(lambda: not part.exists())  # nothing was recorded, and nobody records any more
