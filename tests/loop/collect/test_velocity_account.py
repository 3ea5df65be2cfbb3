"""What is told of a tracker that comes and goes."""

import numpy as np
import pytest

from loop.collect.velocity_account import VelocityAccount
from robot.driver import BaseVelocity
from robot.still_driver import StillDriver, StillVelocity
from robot.velocity.tracked import Glitch
from robot.velocity.watched import WatchedVelocity

FINE = Glitch(0)


class Tracker:
    """Gives a velocity of zero unless something is wrong with it."""

    name = "t265"

    def __init__(self):
        self.glitch = FINE

    def read(self, state):
        return BaseVelocity(np.zeros(3), np.zeros(3), self.name, 0.0, not self.glitch)


@pytest.fixture
def watched():
    """A tracker, the account of it, and what reads it once with this wrong."""
    tracker = Tracker()
    source = WatchedVelocity(tracker, StillVelocity())
    driver = StillDriver()
    driver.connect()

    def read(glitch=FINE):
        tracker.glitch = glitch
        source.read(driver.read())

    return VelocityAccount(source), read


def test_a_tracker_that_is_trusted(watched):
    account, read = watched
    read()
    assert account.trusted and account.line() == "velocity by t265"
    account.begin()
    read()
    assert account.end() == "velocity by t265"
    assert account.result() == {"source": "t265", "why": [], "losses": {}}


def test_a_tracker_that_is_not_there(watched):
    account, read = watched
    read(Glitch.ABSENT)
    assert not account.trusted and account.line() == "velocity by still (ABSENT); see docs/robot.md"
    account.begin()
    read(Glitch.ABSENT)
    assert account.end() == "velocity by still (ABSENT)"
    assert account.result() == {"source": "still", "why": ["ABSENT"], "losses": {}}


def test_losses_are_those_in_episodes(watched):
    account, read = watched
    for glitch in (Glitch.AGE, FINE):  # before the robot stands
        read(glitch)
    account.begin()
    for glitch in (Glitch.JUMP, FINE, Glitch.JUMP, FINE, Glitch.SPEED):
        read(glitch)
    assert account.end() == "velocity by still (SPEED); tracker lost: JUMP 2, SPEED 1"
    account.begin()
    for glitch in (FINE, Glitch.JUMP, FINE):
        read(glitch)
    assert account.end() == "velocity by t265; tracker lost: JUMP 1"
    assert account.result() == {"source": "t265", "why": [], "losses": {"JUMP": 3, "SPEED": 1}}


def test_of_legs_that_nothing_watches_there_is_nothing_to_tell():
    account = VelocityAccount(StillVelocity())
    account.begin()
    assert account.trusted and account.line() == account.end() == ""
    assert account.result() == {"source": "still", "why": [], "losses": {}}
