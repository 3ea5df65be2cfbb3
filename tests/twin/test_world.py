from pathlib import Path

import pytest

from common.errors import QuadloopError
from twin.world import FLAT, MATTRESS, WorldError, files_of_world, find_world


def write(tmp_path, text, name="gravel.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_terrains_by_name():
    assert find_world("flat") is FLAT
    assert find_world("mattress") is MATTRESS
    assert MATTRESS.solref[0] > FLAT.solref[0]  # a softer contact


def test_a_file_holds_what_differs_from_a_flat_floor(tmp_path):
    world = find_world(write(tmp_path, "solref: [0.05, 0.8]\nfriction: 0.6\n"))
    assert world.name == "gravel"
    assert files_of_world(str(tmp_path / "gravel.yaml")) == [tmp_path / "gravel.yaml"] and files_of_world("flat") == []
    assert world.solref == (0.05, 0.8)
    assert world.friction == 0.6
    assert world.solimp == FLAT.solimp


def test_the_fitted_twin_is_a_file_of_this_project():
    world = find_world(str(Path(__file__).parents[2] / "configs" / "go1_mattress.yaml"))
    assert world.name == "go1_mattress"
    assert FLAT.solref[0] < world.solref[0] < MATTRESS.solref[0]
    assert world.pushes.speed > 0
    assert world.actuator.delay_s[1] > 0
    assert world.robot.joint_damping > FLAT.robot.joint_damping


def test_a_file_may_name_its_terrain(tmp_path):
    assert find_world(write(tmp_path, "name: lawn\n")).name == "lawn"


@pytest.mark.parametrize("name", ["swamp", "", ".", "/"])
def test_unknown_terrain(name):
    with pytest.raises(WorldError, match=r"choose one of flat, mattress or a YAML file"):
        find_world(name)


@pytest.mark.parametrize("name", ["swamp.yaml", "floors/swamp"])
def test_a_file_that_is_not_there_is_told_from_an_unknown_name(name):
    with pytest.raises(WorldError, match=rf"^the terrain file '{name}' does not exist; .* flat, mattress$"):
        find_world(name)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("solreff: [0.1, 1]", "did you mean 'solref'"),
        ("solref: [0.1]", "solref must be a list of 2 values"),
        ("solref: 3", "solref must be"),
        ("solref: [0.1, .nan]", "solref must be"),
        ("solref: [0, 1]", "time constant"),
        ("solimp: [0.9, 0.5, 0.1]", "d_min <= d_max"),
        ("friction: -1", "friction -1.0 must be in"),
        ("friction: .inf", "finite number"),
        ("friction: slippery", "finite number"),
        ("name: 3", "name must be text"),
        ("- 1\n- 2", "must be a mapping"),
        ("friction: [", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("robot: {motor_strength: 0}", "motor_strength is 0"),
        ("robot: {added_mass: -9}", "added_mass"),
        ("actuator: {delay_s: [0.0, 5.0]}", "delay_s"),
        ("pushes: {every_s: 0}", "every_s"),
        ("pushes: 3", "must be a mapping"),
        (f"name: {'x' * 101}", "at most 100 characters long"),
        ("pushes: {speed: 1.0e+308}", "from 0 to 10 m/s"),
        ("#" * 2_000_000, "larger than"),
    ],
)
def test_a_bad_file_is_refused_on_one_line(tmp_path, text, complaint):
    with pytest.raises(QuadloopError, match=complaint) as refusal:
        find_world(write(tmp_path, text))
    assert "\n" not in str(refusal.value)
    assert "gravel" in str(refusal.value)
