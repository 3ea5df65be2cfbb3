"""A sitting: what a person at a robot is asked and told, and what happens when something goes wrong meanwhile."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from common.errors import QuadloopError
from loop.collect.operator import Stopped, Willing
from loop.collect.sitting import Sitting
from robot import go1
from robot.forward_commands import ForwardCommands
from robot.log.episode import EpisodeAttributes
from robot.log.episode_log import list_episodes, read_episode
from robot.log.recorder import Recorder
from robot.observation import GO1_LAYOUT
from robot.policy.metadata import layout_json
from robot.session import Session
from robot.still_driver import StillDriver, StillPolicy, StillVelocity
from robot.supervisor import ModeError
from robot.unitree.command_stream import GUARDIAN_AFTER_S
from robot.unitree.driver import Go1Driver
from robot.velocity.tracked import PoseVelocity
from robot.velocity.watched import WatchedVelocity
from twin.robot_process import RobotProcess

ATTRIBUTES = EpisodeAttributes(
    go1.NAME, "", go1.CONTROL_DT, layout_json(GO1_LAYOUT), "{}", "s", "still", velocity_source="still"
)  # fmt: skip


class Person(Willing):
    """Agrees to everything, and does something at chosen moments: `deeds` by the first words of a question, once or `again`."""

    def __init__(self, deeds, again):
        self.deeds, self.again, self.told = deeds, again, []

    def tell(self, what):
        self.told.append(what)
        for words in [words for words in self.deeds if what.startswith(words)]:
            (self.deeds[words] if self.again else self.deeds.pop(words))()

    def wait(self, walk):
        self.tell("It walks.")
        return super().wait(walk)

    def heard(self, words):
        return any(words in line for line in self.told)


class Unseen(StillVelocity):
    name = "unseen"

    def read(self, state):
        return replace(super().read(state), valid=False)


@pytest.fixture
def sit(monkeypatch, tmp_path):
    """Two episodes of ten steps, on a robot that stands up at once, with a person who meddles; returns the sitting and the person."""
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: ["no real-time priority"])
    monkeypatch.setattr("robot.control_loop.STAND_TIME_S", 0.1)
    monkeypatch.setattr("robot.supervisor.SINKING_S", 0.2)  # longer than from one question to the next

    def run(meddle=lambda session, recorder: {}, velocity=None, again=False, speeds=(0.0, 0.0), logs="logs"):
        with (
            Recorder() as recorder,
            Session(StillDriver(clock=time.monotonic), velocity or StillVelocity(), StillPolicy(), None, recorder, ATTRIBUTES) as session,
        ):
            person = Person(meddle(session, recorder), again)
            sitting = Sitting(session, recorder, person, lambda: None, tmp_path / logs)
            sitting.run(2, 10, ForwardCommands(*speeds), np.random.default_rng(0))
            return sitting, person

    return run


def test_two_episodes_are_walked_and_logged(sit, tmp_path):
    sitting, person = sit()
    assert (sitting.episodes, sitting.steps, sitting.falls, sitting.lost) == (2, 20, 0, 0)
    assert len(list_episodes(tmp_path / "logs")) == 2
    assert not person.heard("velocity was not measured") and person.told[-1] == "The robot is damped."
    assert sum("no real-time priority" in line for line in person.told) == 1


def test_a_log_that_is_lost_is_told_at_once_and_counted(sit, tmp_path):
    def meddle(_session, recorder):
        return {"It walks.": lambda: os.kill(recorder.pid, signal.SIGKILL)}

    sitting, person = sit(meddle)
    assert (sitting.episodes, sitting.lost) == (2, 1)
    assert person.heard("The log is not whole")
    assert [path.name for path in list_episodes(tmp_path / "logs")] == ["episode_0001.hdf5"]


def test_steps_without_a_velocity_are_told(sit):
    assert sit(velocity=Unseen())[1].heard("In 10 of them the velocity was not measured")


def test_a_tracker_that_is_not_there_is_told_before_the_robot_stands_and_after_each_episode(sit, monkeypatch):
    monkeypatch.setattr("loop.collect.sitting.FIRST_POSE_S", 0.1)
    sitting, person = sit(velocity=WatchedVelocity(PoseVelocity("t265", lambda: None, np.zeros(3)), StillVelocity()))
    told = [line for line in person.told if line.startswith(("velocity", "The robot will stand"))]
    absent = "velocity by still (ABSENT)"
    assert told == [f"{absent}; see docs/robot.md", told[1], absent, absent] and told[1].startswith("The robot will stand")
    assert sitting.velocity.result() == {"source": "still", "why": ["ABSENT"], "losses": {}}


def test_a_seed_gives_the_same_commands_however_often_the_robot_is_put_right(sit, tmp_path):
    for logs, meddle in (("one", lambda *_: {}), ("other", lambda session, _recorder: {"Episode 2 of 2": session.estop})):
        sit(meddle, speeds=(0.2, 0.8), logs=logs)
    one, other = ([read_episode(path).command[0, 0] for path in list_episodes(tmp_path / logs)] for logs in ("one", "other"))
    assert one == other and 0.2 <= min(one) < max(one) <= 0.8


@pytest.mark.parametrize("moment", ["The robot will stand up", "Episode 1 of 2"])
def test_a_robot_that_is_stopped_before_it_walks_is_put_right_and_the_sitting_goes_on(sit, moment):
    sitting, person = sit(lambda session, _recorder: {moment: session.estop})
    assert sitting.episodes == 2
    assert sum(line.startswith("The robot is damped (ESTOP)") for line in person.told) == 1  # and is armed again when the person says so


def test_a_robot_that_is_held_back_is_damped_and_put_right_and_the_sitting_goes_on(sit, monkeypatch):
    monkeypatch.setattr("robot.run_episode.STAND_STEPS", 20)

    def meddle(session, _recorder):
        driver, read = session.cycle.driver, session.cycle.driver.read
        held = go1.DEFAULT_JOINT_POS - np.where(np.arange(go1.NUM_JOINTS) == 2, 1.0, 0.0)
        return {
            "The robot will stand up": lambda: setattr(driver, "read", lambda: replace(read(), joint_pos=held)),
            "The robot is damped (ESTOP)": lambda: setattr(driver, "read", read),
        }

    sitting, person = sit(meddle)
    assert sitting.episodes == 2
    assert person.heard("does not stand: FL_calf_joint is 1.00 rad from where it should be") and person.heard("Lay it on its belly")


@pytest.fixture
def sit_at_a_twin(monkeypatch, tmp_path):
    """Two episodes of two seconds on a robot in a process of its own, behind its own driver; `meddle` is told of both."""
    monkeypatch.setattr("robot.control_thread.prioritise", lambda _priority: [])

    def run(meddle):
        with RobotProcess() as robot, Recorder() as recorder:
            driver = Go1Driver(robot.config)
            with Session(driver, StillVelocity(), StillPolicy(), None, recorder, ATTRIBUTES) as session:
                person = Person(meddle(robot, driver), again=False)
                sitting = Sitting(session, recorder, person, lambda: robot.order(lie_down=True), tmp_path / "logs")
                error = None
                try:
                    sitting.run(2, 100, ForwardCommands(0.0, 0.0), np.random.default_rng(0))
                except QuadloopError as raised:
                    error = raised
        return sitting, person, error

    return run


def test_the_remotes_stop_while_it_walks_is_no_end(sit_at_a_twin):
    """The driver latches the fault: after B is let go it walks on."""

    def meddle(robot, _driver):
        return {
            "It walks.": lambda: robot.order(remote_stop=True),
            "The robot is damped (DRIVER": lambda: robot.order(remote_stop=False),
        }

    sitting, person, error = sit_at_a_twin(meddle)
    assert sitting.episodes == 2 and error is None, person.told
    assert person.heard("The robot is damped (DRIVER, REMOTE_STOP)"), person.told
    [end] = [line for line in person.told if "ended by safety" in line]
    assert end.endswith("DRIVER, REMOTE_STOP)")


@pytest.mark.parametrize(("moment", "episodes"), [("It walks.", 1), ("Episode 1 of 2", 0)])
def test_without_a_guardian_no_other_episode_begins_and_it_is_told(sit_at_a_twin, moment, episodes):
    def meddle(_robot, driver):
        def kill():
            os.kill(driver.pids["guardian"], signal.SIGKILL)
            time.sleep(2 * GUARDIAN_AFTER_S)

        return {moment: kill}

    sitting, person, error = sit_at_a_twin(meddle)
    assert "the guardian has died" in str(error) and "\n" not in str(error)
    assert sitting.episodes == episodes and not person.heard("Episode 2 of 2"), person.told


@pytest.mark.parametrize(
    ("moment", "says"),
    [("Episode 2 of 2", "the control loop has ended and the robot is damped: the cable is off"),
     ("The robot is damped (ESTOP)", "re-arming failed and the robot was damped: the cable is off (OSError)"),
     ("The robot will stand up", "standing up failed and the robot was damped: the cable is off (OSError)")],
)  # fmt: skip
def test_a_control_loop_that_dies_while_the_person_thinks_ends_it_on_one_line_and_nobody_lays_the_robot_down_in_vain(sit, moment, says):
    laid_down = []

    def meddle(session, _recorder):
        def break_off():
            def read():
                raise OSError("the cable is off")

            session.cycle.driver.read = read
            while session.thread.running:
                time.sleep(0.01)

        deeds = {"The robot is damped (FAULT": lambda: laid_down.append(True), moment: break_off}
        return deeds | ({"Episode 1 of 2": session.estop} if "ESTOP" in moment else {})

    with pytest.raises(QuadloopError) as raised:
        sit(meddle)
    assert str(raised.value) == says and not laid_down


def test_a_robot_that_never_stands_up_ends_it(sit):
    with pytest.raises(ModeError, match=r"the robot is damping|could not stand up"):
        sit(lambda session, _recorder: {"The robot will stand up": session.estop}, again=True)


def test_a_person_who_has_had_enough(sit):
    def enough():
        raise Stopped("ended by the operator")

    sitting, person = sit(lambda _session, _recorder: {"Episode 2 of 2": enough})
    assert sitting.episodes == 1 and person.heard("ended by the operator")
