"""No policy that does not fit this robot gets past configure, and the reason is named: one of each kind of damage."""

import os

import pytest

from robot.policy.artifact import write_artifact
from tests.robot.policy.broken_artifacts import change_metadata, change_model, make_external, make_graph


def of_another_robot(path):
    change_metadata(path, lambda metadata: metadata.update(robot="unitree_a1"))


def with_gains_of_another(path):
    change_metadata(path, lambda metadata: metadata.update(kp=20.5))


def with_another_layout(path):
    change_metadata(path, lambda metadata: metadata["layout"].update(history=4))


def with_golden_pairs_of_another(path):
    change_metadata(path, lambda metadata: metadata["golden"]["action_mean"][5].__setitem__(3, 9.0))


def with_an_external_file(path):
    change_model(path, lambda model: make_external(model.graph.initializer[0]))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1000])


def huge(path):
    with path.open("r+b") as file:
        os.ftruncate(file.fileno(), 2**34)


def absent(path):
    path.unlink()


BROKEN = [
    (of_another_robot, "robot is 'unitree_a1'"), (with_gains_of_another, "the gains are kp 20.5"),
    (with_another_layout, "observation layout"), (with_golden_pairs_of_another, "golden pairs differ"),
    (with_an_external_file, "'weight' lie in an external file"),
    (cut_short, ""), (huge, "larger than 64 MB"), (absent, "cannot be read"),
]  # fmt: skip


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "policy.onnx"
    write_artifact(path, make_graph().SerializeToString(), "pretrained", None)
    return path


# The robot is one that cannot be reached, so that a sound policy is refused too, but later and for another reason.


@pytest.mark.parametrize(("damage", "named"), BROKEN)
def test_a_policy_that_does_not_fit_is_refused_by_name(configure, sound, damage, named):
    damage(sound)
    refusal = configure(policy=sound, robot="go1")
    assert str(sound) in refusal and named in refusal and "robot_interface" not in refusal


def test_a_sound_one_gets_as_far_as_the_robot(configure, sound):
    assert "robot_interface" in configure(policy=sound, robot="go1")
