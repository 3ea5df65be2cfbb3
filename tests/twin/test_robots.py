"""Robots by name."""

from contextlib import ExitStack

import pytest

from robot.driver import DriverError
from twin.robots import UnknownRobotError, WantedRobot, open_robot
from twin.world import WorldError


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"name": "spot"}, "no robot 'spot'; choose one of go1, twin, replay"),
        ({"velocity_source": "gps"}, "no velocity source 'gps'; choose one of t265, odometry, legs"),
        ({"lever_arm_b": (0.0, 1.0)}, "2 values; it must have 3"),
        ({"lever_arm_b": (250.0, 0.0, 100.0)}, r"the lever arm is \(250.0, 0.0, 100.0\); give metres, each part within \+-1"),
        ({"lever_arm_b": (0.0, 0.0, -1.01)}, "give metres"),
        ({"lever_arm_b": (0.0, float("nan"), 0.0)}, "give metres"),
        ({"name": "replay"}, "name an episode log"),
    ],
)
def test_what_there_is_not_is_named(wanted, named):
    with pytest.raises(UnknownRobotError, match=named):
        WantedRobot(**wanted)


def test_a_real_robot_is_not_reached_before_it_is_connected():
    with ExitStack() as closing:
        robot = open_robot(WantedRobot("go1"), closing)
        assert robot.source == "go1" and robot.velocity.name == "legs" and robot.lay_down is None
        with pytest.raises(DriverError, match="robot_interface"):
            robot.driver.connect()


def test_odometry_is_handed_over_and_watched():
    with ExitStack() as closing:
        robot = open_robot(WantedRobot("go1", velocity_source="odometry"), closing)
        assert robot.odometry is not None and robot.velocity.name == "odometry+legs"


def test_a_twin_on_a_floor_that_there_is_not():
    with ExitStack() as closing, pytest.raises(WorldError, match="unknown terrain 'lava'"):
        open_robot(WantedRobot("twin", terrain="lava"), closing)


def test_a_twin_on_a_floor_of_a_file_in_the_users_directory(tmp_path, monkeypatch):
    (tmp_path / "my_floor.yaml").write_text("name: lawn\nfriction: 0.5\n")
    monkeypatch.chdir(tmp_path)
    with ExitStack() as closing:
        assert open_robot(WantedRobot("twin", terrain="my_floor.yaml"), closing).source == "twin:lawn"


def test_a_twin_answers_and_can_be_laid_down():
    with ExitStack() as closing:
        robot = open_robot(WantedRobot("twin", velocity_source="t265"), closing)
        assert robot.source == "twin:flat" and robot.velocity.name == "t265+legs"
        robot.driver.connect()
        closing.callback(robot.driver.close)
        assert robot.driver.read().faults == 0
        assert robot.lay_down() is not None
