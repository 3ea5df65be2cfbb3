"""No policy that does not fit this robot gets past configure, and the reason is named."""

import os

import onnx
import pytest
from rclpy.parameter import Parameter

from go1_control.node import ControlNode
from robot.policy_artifact import write_artifact
from tests.robot.broken_artifacts import MISFITS, OTHER_GRAPHS, OTHER_LAYOUTS, change_metadata, change_model, make_graph


def with_metadata(key, value):
    return lambda path: change_metadata(path, lambda metadata: metadata.update({key: value}))


def with_layout(change):
    return lambda path: change_metadata(path, lambda metadata: change(metadata["layout"]))


def with_graph(change):
    return lambda path: change_model(path, change)


def with_golden_pairs_of_another(path):
    change_metadata(path, lambda metadata: metadata["golden"]["action_mean"][5].__setitem__(3, 9.0))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])


def huge(path):
    with path.open("r+b") as file:
        os.ftruncate(file.fileno(), 2**34)


def no_contract(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


BROKEN = [
    *((with_metadata(key, value), named) for key, value, named in MISFITS),
    *((with_layout(change), "observation layout") for change in OTHER_LAYOUTS),
    *((with_graph(change), named) for change, named in OTHER_GRAPHS),
    (with_golden_pairs_of_another, "golden pairs differ"),
    (cut_short, ""), (huge, "larger than 64 MB"), (no_contract, "no policy of quadloop"), (lambda path: path.unlink(), "cannot be read"),
    (lambda path: path.write_bytes(b""), ""), (lambda path: path.write_bytes(b"hello, I am a policy"), ""),
]  # fmt: skip


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "policy.onnx"
    write_artifact(path, make_graph().SerializeToString(), "pretrained", None)
    return path


@pytest.fixture
def configure(sound):
    """Configures a node with the policy at `sound`; returns its state and why it was refused."""
    nodes = []

    def configured():
        # The robot is one that cannot be reached, so that a sound policy fails too, but later and for another reason.
        nodes.append(ControlNode(parameter_overrides=[Parameter("policy", value=str(sound)), Parameter("robot", value="go1")]))
        nodes[-1].trigger_configure()
        return nodes[-1].refusal

    yield configured
    for node in nodes:
        node.close()
        node.destroy_node()


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize(("damage", "named"), BROKEN)
def test_a_policy_that_does_not_fit_is_refused_by_name(configure, sound, damage, named):
    damage(sound)
    refusal = configure()
    assert str(sound) in refusal and named in refusal and "robot_interface" not in refusal


def test_a_sound_one_gets_as_far_as_the_robot(configure):
    assert "robot_interface" in configure()
