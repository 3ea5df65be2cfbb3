"""The launch files and parameter files say nothing that the node does not know."""

import importlib.util
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import yaml

from go1_control.parameters import FIXED, GAIT

BRINGUP = "ros2_ws/src/go1_bringup"
KINDS = ("robot", "twin", "replay")


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_a_file_is_one_of_the_nodes(root, kind):
    content = yaml.safe_load((root / BRINGUP / "config" / f"{kind}.yaml").read_text())
    values = content["/go1_control"]["ros__parameters"]
    assert set(values) <= set(FIXED | GAIT)
    for name, value in values.items():
        parameter = (FIXED | GAIT)[name]
        assert type(value) is type(parameter.default)
        assert parameter.low is None or parameter.low <= value <= parameter.high


@pytest.mark.parametrize("kind", KINDS)
def test_a_launch_file_starts_the_node_with_its_file(root, kind):
    launch = ElementTree.parse(root / BRINGUP / "launch" / f"{kind}.launch.xml").getroot()  # noqa: S314  our own file
    node = launch.find("node")
    assert (node.get("pkg"), node.get("exec"), node.get("name")) == ("go1_control", "control_node", "go1_control")
    arguments = {argument.get("name") for argument in launch.findall("arg")}
    files = [param.get("from") for param in node.findall("param") if param.get("from")]
    assert files == [f"$(find-pkg-share go1_bringup)/config/{kind}.yaml"]
    for param in node.findall("param"):
        if param.get("name"):
            assert param.get("name") in FIXED
            assert set(re.findall(r"\$\(var (\w+)\)", param.get("value"))) <= arguments
            text = isinstance(FIXED[param.get("name")].default, str)
            assert param.get("type") == ("str" if text else None)  # else YAML decides: 20240601 is a number, "my logs #2" is cut


def test_a_real_robot_is_as_weak_as_can_be_unless_asked_otherwise(root):
    launch = ElementTree.parse(root / BRINGUP / "launch" / "robot.launch.xml").getroot()  # noqa: S314  our own file
    [argument] = [argument for argument in launch.findall("arg") if argument.get("name") == "power_level"]
    content = yaml.safe_load((root / BRINGUP / "config" / "robot.yaml").read_text())
    assert int(argument.get("default")) == FIXED["power_level"].low
    assert "power_level" not in content["/go1_control"]["ros__parameters"]  # the argument would win over it unseen


def test_the_workspace_builds(root, tmp_path):
    if importlib.util.find_spec("colcon_core") is None:
        pytest.skip("colcon is not installed: pip install colcon-ros colcon-recursive-crawl")
    shutil.copytree(root / "ros2_ws", tmp_path / "ros2_ws")
    done = subprocess.run([sys.executable, "-m", "colcon", "build"], cwd=tmp_path / "ros2_ws", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "ros2_ws/install/go1_control/lib/go1_control/control_node").exists()
    assert (tmp_path / "ros2_ws/install/go1_bringup/share/go1_bringup/launch/robot.launch.xml").exists()
