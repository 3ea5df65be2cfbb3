"""A sitting in real time, with a robot that stands still."""

import time

import numpy as np
import pytest

from robot import go1
from robot.artifact_metadata import layout_json
from robot.episode import EpisodeAttributes
from robot.episode_log import read_episode
from robot.observation import GO1_LAYOUT, trot_command
from robot.recorder import Recorder
from robot.run_episode import EpisodePlan
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


def test_forbidden_between_the_request_and_the_first_motion_the_robot_does_not_get_up(session):
    for _ in range(20):
        request = session.stand()
        session.forbid()
        assert isinstance(request.exception(5), ModeError)
        assert session.mode in (Mode.PASSIVE, Mode.DAMPING)
        if session.mode is Mode.DAMPING:
            session.permit()
            session.rearm().result(5)
        session.permit()


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
