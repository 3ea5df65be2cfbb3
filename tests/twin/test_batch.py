from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from twin.actuator import ActuatorConfig
from twin.batch import BatchTwin, InitialSpread
from twin.world import FLAT, MATTRESS, Pushes, Variation

ALIKE = InitialSpread(joint_pos_rad=0.0, yaw_rad=0.0, base_vel=0.0)
FIELDS = ("joint_pos", "joint_vel", "joint_torque", "base_pos_w", "quaternion_wxyz", "base_lin_vel_w", "base_ang_vel_b", "foot_force")


def placed(count, spread=ALIKE, seed=0, threads=None, world=FLAT):
    twin = BatchTwin(world, count, threads)
    twin.reset(np.ones(count, dtype=bool), np.random.default_rng(seed), spread)
    return twin


def wobble(step, robots):
    """Targets (N, 12) that differ by step and robot."""
    return go1.DEFAULT_JOINT_POS + 0.1 * np.sin(step / 3 + np.arange(12) + 2 * np.asarray(robots)[:, None])


def same(state, other, rows=slice(None), other_rows=slice(None)):
    return all(np.array_equal(getattr(state, name)[rows], getattr(other, name)[other_rows]) for name in FIELDS)


def test_many_robots_move_as_each_would_alone():
    with placed(5, threads=2) as many:
        for step in range(30):
            together, _ = many.step(wobble(step, range(5)))
    for robot in range(5):
        with placed(1) as one:
            for step in range(30):
                alone, _ = one.step(wobble(step, [robot]))
        assert same(together, alone, slice(robot, robot + 1))


def test_a_seed_decides_how_robots_start():
    spread = InitialSpread()
    with placed(3, spread, seed=4) as first, placed(3, spread, seed=4) as again, placed(3, spread, seed=5) as other:
        assert np.array_equal(first.qpos, again.qpos)
        assert not np.array_equal(first.qpos, other.qpos)


def test_a_reset_robot_stands_within_the_spread():
    with placed(200, InitialSpread(joint_pos_rad=0.05, yaw_rad=0.3, base_vel=0.1)) as twin:
        state = twin.read()
    assert np.abs(state.joint_pos - go1.DEFAULT_JOINT_POS).max() <= 0.05
    yaw = 2 * np.arctan2(state.quaternion_wxyz[:, 3], state.quaternion_wxyz[:, 0])
    assert 0.2 < np.abs(yaw).max() <= 0.3
    assert np.abs(state.base_lin_vel_w).max() <= 0.1
    assert np.allclose(state.gravity_b, (0, 0, -1))
    assert (state.base_pos_w == (0, 0, 0.32)).all()


def test_reset_touches_only_the_robots_it_is_asked_for():
    with placed(3) as twin:
        before, _ = twin.step(wobble(7, range(3)))
        twin.reset(np.array([False, True, False]), np.random.default_rng(1), ALIKE)
        after = twin.read()
        assert same(after, before, [0, 2], [0, 2])
        assert after.joint_pos[1].tolist() == go1.DEFAULT_JOINT_POS.tolist()
        assert not after.joint_vel[1].any()
        assert not after.foot_force[1].any()


def test_an_empty_reset_does_nothing():
    with placed(2) as twin:
        before, _ = twin.step(wobble(1, range(2)))
        twin.reset(np.zeros(2, dtype=bool), np.random.default_rng(0))
        assert same(twin.read(), before)


def test_targets_pass_the_robots_limits():
    # Hip 0.1: position limit 1.047. Thigh 0.8: torque limit 23.7 / 20 above the joint. Calf -1.5: position limit -0.837.
    with placed(1) as twin:
        _, applied = twin.step(np.full((1, 12), 5.0))
    assert applied[0, :3] == pytest.approx((1.047, 0.8 + 1.185, -0.837))


def test_a_target_that_is_not_a_number_holds_the_last_one():
    with placed(2) as twin:
        targets = np.tile(go1.DEFAULT_JOINT_POS, (2, 1))
        targets[1, 3] = np.nan
        state, applied = twin.step(targets)
    assert applied[1].tolist() == go1.DEFAULT_JOINT_POS.tolist()
    assert np.isfinite(state.joint_pos).all()


@pytest.mark.parametrize("world", [FLAT, MATTRESS])
def test_a_robot_that_holds_its_posture_stands_still_on_its_feet(world):
    with placed(1, world=world) as twin:
        for _ in range(150):
            state, _ = twin.step(go1.DEFAULT_JOINT_POS[None])
    assert state.foot_force.sum() == pytest.approx(12.744 * 9.81, rel=0.05)
    assert state.accelerometer_b[0] == pytest.approx(-9.81 * state.gravity_b[0], abs=0.1)
    assert np.abs(state.base_lin_vel_b).max() < 0.02
    assert state.gravity_b[0, 2] < -0.98


def test_the_mattress_gives_way():
    heights = {}
    for world in (FLAT, MATTRESS):
        with placed(1, world=world) as twin:
            for _ in range(150):
                state, _ = twin.step(go1.DEFAULT_JOINT_POS[None])
        heights[world.name] = state.foot_pos_w[0, :, 2].mean()
    assert heights["flat"] == pytest.approx(0.023, abs=0.006)  # a sphere of 23 mm on a hard floor
    assert heights["mattress"] < heights["flat"] - 0.01


def blown_up(twin, robot):
    """Make one robot's numbers larger than any that the engine accepts."""
    qvel = twin.qvel.copy()
    qvel[robot, 0] = 1e11
    twin.place(twin.qpos.copy(), qvel, np.tile(go1.DEFAULT_JOINT_POS, (len(qvel), 1)))


def test_a_robot_whose_physics_blows_up_is_noticed_and_held(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with placed(3) as twin, placed(3) as other:
        blown_up(twin, 1)
        for _ in range(3):
            state, _ = twin.step(np.tile(go1.DEFAULT_JOINT_POS, (3, 1)))
            undisturbed, _ = other.step(np.tile(go1.DEFAULT_JOINT_POS, (3, 1)))
        assert twin.diverged.tolist() == [False, True, False]
        assert same(state, undisturbed, [0, 2], [0, 2])
        twin.reset(np.array([False, True, False]), np.random.default_rng(0), ALIKE)
        assert not twin.diverged.any()
        assert np.abs(twin.step(np.tile(go1.DEFAULT_JOINT_POS, (3, 1)))[0].joint_vel[1]).max() < 10
    assert not list(tmp_path.iterdir())  # the engine would log it wherever the program was started


def test_a_state_that_was_kept_goes_on_the_same():
    late = replace(FLAT, actuator=ActuatorConfig(delay_s=(0.0, 0.04)))
    worlds = [replace(late, robot=Variation(added_mass=mass)) for mass in (0.0, 3.0)]
    with BatchTwin(late, 4, variants=worlds) as twin, BatchTwin(late, 4, variants=worlds) as other:
        twin.reset(np.ones(4, dtype=bool), np.random.default_rng(0))
        for step in range(10):
            twin.step(wobble(step, range(4)))
        other.load_state_dict(twin.state_dict())
        for step in range(10, 20):
            ahead, behind = twin.step(wobble(step, range(4)))[0], other.step(wobble(step, range(4)))[0]
        assert same(ahead, behind)
        assert np.array_equal(ahead.asked_torque, behind.asked_torque)
        assert set(twin.variant.tolist()) == {0, 1}


def test_pushes_come_as_often_and_as_hard_as_the_world_says():
    world = replace(FLAT, pushes=Pushes(every_s=0.1, speed=0.5))
    with BatchTwin(world, 2000, rng=np.random.default_rng(1)) as twin, placed(2000) as quiet:
        twin.place(quiet.qpos, quiet.qvel, np.tile(go1.DEFAULT_JOINT_POS, (2000, 1)))
        twin._push()
        change = twin.qvel[:, :2] - quiet.qvel[:, :2]
    pushed = change.any(axis=1)
    assert 0.15 < pushed.mean() < 0.25  # a fifth of them in 0.02 s
    assert 0.45 < np.abs(change).max() <= 0.5
    assert np.abs(change[pushed].mean(axis=0)).max() < 0.05
