import json

import numpy as np
import pytest

from robot import go1
from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from sim_pretrain.nan_guard import MAX_DUMPS, NanGuard, NanGuardError, replay
from sim_pretrain.randomisation import RandomisationConfig
from twin.actuator import ActuatorConfig
from twin.world import FLAT

STILL = np.zeros((3, 12), dtype=np.float32)
JOINTS, TRUNK = slice(6, 18), 0  # of qvel


def hurl(environment, what, speed):
    """Give robot 1 a speed: of its joints, rad/s, or of its trunk along x, m/s."""
    twin = environment.twin
    qvel = twin.qvel.copy()
    qvel[1, what] = speed
    twin.place(twin.qpos.copy(), qvel, twin.read().joint_pos)


@pytest.fixture(params=[False, True], ids=["ideal", "torque_speed_limit"])
def environment(tmp_path, request):
    """Three robots that stand, and a folder for what diverges."""
    actuator = ActuatorConfig(torque_speed_limit=request.param)
    config = EnvironmentConfig(num_robots=3, randomisation=RandomisationConfig(variants=2), actuator=actuator)
    environment = WalkingEnvironment(FLAT, config, 0, tmp_path / "diverged")
    environment.step(STILL)
    yield environment
    environment.close()


@pytest.fixture
def blown_up(environment):
    """An environment in which robot 1 is about to leave what the engine can compute."""
    hurl(environment, JOINTS, 9e9)  # the engine gives up at 1e10
    return environment


def test_a_robot_that_blows_up_is_dumped_and_starts_anew(blown_up, tmp_path):
    result = blown_up.step(STILL)
    assert result.terminated.tolist() == [False, True, False]
    assert result.terms["diverged"] == 1
    assert np.isfinite(result.rewards).all()
    assert np.isfinite(blown_up.observations).all()
    assert not blown_up.twin.diverged.any()
    dump = json.loads((tmp_path / "diverged" / "step_2_robot_1.json").read_text())
    assert (dump["step"], dump["robot"]) == (2, 1)


def test_a_dump_can_be_played_again(blown_up, tmp_path):
    blown_up.step(STILL)
    rows = replay(tmp_path / "diverged" / "step_2_robot_1.json")
    assert rows[-1]["unstable"] or rows[-1]["qvel"] > 1e3
    assert rows[0]["worst"] in ("trunk", *go1.JOINT_NAMES)
    assert len(rows) <= 4


def test_a_robot_that_leaves_all_bounds_in_the_last_physics_step_is_noticed_too(environment):
    """Speeds that the engine still accepts, but no robot has."""
    hurl(environment, TRUNK, 5e3)
    result = environment.step(STILL)
    assert result.terms["diverged"] == 1
    assert result.terminated.tolist() == [False, True, False]
    assert np.abs(environment.critic_observations).max() < 100


def test_only_the_first_are_dumped(blown_up, tmp_path):
    for _ in range(MAX_DUMPS + 3):
        hurl(blown_up, JOINTS, 9e9)
        blown_up.step(STILL)
    assert len(list((tmp_path / "diverged").iterdir())) == MAX_DUMPS


def test_a_resumed_run_has_no_more_of_them(blown_up, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    for number in range(MAX_DUMPS):
        (before / f"step_{number}_robot_0.json").write_text("{}")
    blown_up.step(STILL)
    guard = NanGuard(before, [FLAT])
    guard.note(blown_up.twin, step=1_000)
    assert len(list(before.iterdir())) == MAX_DUMPS


def refused(path):
    with pytest.raises(NanGuardError, match=path.name) as refusal:
        replay(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b"x" * 2_000_000, b"[" * 100_000],
    ids=["empty", "list", "object", "bytes", "long", "deep"],
)
def test_other_files_are_refused_on_one_line(tmp_path, content):
    path = tmp_path / "dump.json"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"world": {"name": 1}}, {"world": {"ground": "ice"}}, {"world": {"friction": -1.0}}, {"world": None},
        {"state": [0.0] * 5}, {"state": [[0.0]]}, {"state": "still"}, {"state": {"a": 1}}, {"state": [10**400]},
        {"control": [[0.0] * 11] * 4}, {"control": [[0.0] * 12] * 3}, {"control": [["a"] * 12] * 4},
    ],
    ids=str,
)  # fmt: skip
def test_a_dump_of_which_a_part_is_wrong_is_refused_on_one_line(blown_up, tmp_path, changed):
    blown_up.step(STILL)
    path = tmp_path / "diverged" / "step_2_robot_1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    refused(path)
