"""One twin in physics steps, as the robot's process turns it; simulated time."""

import subprocess
import sys

import numpy as np
import pytest

from robot import go1
from twin.actuator import ActuatorConfig
from twin.live import PRONE_HEIGHT, PRONE_JOINT_POS, LiveTwin
from twin.world import FLAT, Pushes, World

KP, KD, ZERO = np.full(12, 20.0), np.full(12, 0.5), np.zeros(12)
STAND = go1.DEFAULT_JOINT_POS


def made(seed=0, **changes):
    return LiveTwin(World("made", **changes) if changes else FLAT, np.random.default_rng(seed))


def turned(twin, seconds, target=STAND, kp=KP, kd=KD):
    for _ in range(round(seconds / go1.PHYSICS_DT)):
        twin.step(target, kp, kd)
    return twin.read()


def stood_up(**changes):
    """As a control loop does it: from where the joints are to the default posture in 1.5 s."""
    twin = made(**changes)
    start = twin.read().joint_pos
    for share in np.linspace(0.0, 1.0, 300):
        twin.step(start + share * (STAND - start), KP, KD)
    turned(twin, 0.5)
    return twin


def up(state):
    """The z component of the body's z axis."""
    _, x, y, _ = state.quaternion_wxyz
    return 1 - 2 * (x * x + y * y)


def test_it_begins_on_its_belly():
    state = made().read()
    np.testing.assert_array_equal(state.joint_pos, PRONE_JOINT_POS)
    np.testing.assert_array_equal(state.base_pos_w, [0.0, 0.0, PRONE_HEIGHT])
    assert (PRONE_JOINT_POS >= go1.JOINT_POS_LOWER).all() and (PRONE_JOINT_POS <= go1.JOINT_POS_UPPER).all()
    shapes = {name: getattr(state, name).shape for name in type(state).__dataclass_fields__}
    assert shapes == {
        "joint_pos": (12,), "joint_vel": (12,), "joint_torque": (12,), "base_pos_w": (3,), "quaternion_wxyz": (4,),
        "base_lin_vel_w": (3,), "base_ang_vel_b": (3,), "accelerometer_b": (3,), "foot_force": (4,),
    }  # fmt: skip


def test_without_torque_it_goes_on_lying():
    state = turned(made(), 2.0, kp=ZERO, kd=ZERO)
    assert 0.03 < state.base_pos_w[2] < 0.15 and up(state) > 0.95
    assert np.linalg.norm(state.base_lin_vel_w) < 0.05 and not state.joint_torque.any()


def test_it_stands_up_and_holds():
    twin = stood_up()
    before = twin.read()
    after = turned(twin, 2.0)
    assert 0.22 < after.base_pos_w[2] < 0.35 and up(after) > 0.99
    np.testing.assert_allclose(after.base_pos_w, before.base_pos_w, atol=0.03)
    assert after.foot_force.sum() == pytest.approx(go1.TOTAL_MASS * 9.81, rel=0.1)
    np.testing.assert_allclose(after.accelerometer_b, [0.0, 0.0, 9.81], atol=1.0)
    assert (np.abs(after.joint_torque) <= go1.TORQUE_LIMIT + 1e-6).all()


def test_damping_lets_it_sink_slowly_and_nothing_lets_it_drop():
    sinking, dropping = stood_up(), stood_up()
    height = sinking.read().base_pos_w[2]
    heights = [(turned(sinking, 0.1, kp=ZERO, kd=np.full(12, 5.0)).base_pos_w[2], turned(dropping, 0.1, kp=ZERO, kd=ZERO).base_pos_w[2])]
    heights += [
        (turned(sinking, 0.1, kp=ZERO, kd=np.full(12, 5.0)).base_pos_w[2], turned(dropping, 0.1, kp=ZERO, kd=ZERO).base_pos_w[2])
        for _ in range(9)
    ]
    damped, free = np.array(heights).T
    assert height > damped[0] > free[0] + 0.01 and damped[1] > free[1] + 0.03
    assert damped[-1] < height - 0.05


def test_a_new_gain_takes_effect_at_once_and_so_does_the_old_one_again():
    twin = stood_up()
    for kp, stiff in ((KP, True), (ZERO, False), (KP, True)):
        twin.step(STAND + 0.1, kp, ZERO)
        assert bool(np.abs(twin.read().joint_torque).max() > 0.1) == stiff


def first_reaction(actuator, seed=0):
    """Physics steps until the motors of a robot that lies without torque follow a command."""
    twin = made(seed, actuator=actuator)
    for step in range(1, 40):
        twin.step(STAND, KP, KD)
        if twin.read().joint_torque.any():
            return step
    return None


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.1])
def test_a_delay_is_as_long_as_the_world_says(delay_s):
    assert first_reaction(ActuatorConfig((delay_s, delay_s))) == 1 + round(delay_s / go1.PHYSICS_DT)


def test_a_delay_is_drawn_for_each_robot():
    reactions = {first_reaction(ActuatorConfig((0.0, 0.03)), seed) for seed in range(20)}
    assert len(reactions) >= 4 and reactions <= set(range(1, 8))


def test_lying_down_forgets_what_is_on_its_way():
    twin = made(actuator=ActuatorConfig((0.05, 0.05)))
    turned(twin, 0.5)
    twin.lie_down()
    turned(twin, 0.045, kp=ZERO, kd=ZERO)
    np.testing.assert_allclose(twin.read().joint_torque, 0.0, atol=1e-9)


def test_a_motor_at_its_top_speed_gives_no_torque():
    def fastest(limit):
        twin = made(actuator=ActuatorConfig(torque_speed_limit=limit))
        twin._data.qpos[2] = 1.0  # in the air
        speeds = []
        target = PRONE_JOINT_POS.copy()
        target[2::3] = -0.9
        for _ in range(30):
            twin.step(target, np.full(12, 80.0), ZERO)
            speeds.append(np.abs(twin.read().joint_vel[2::3]).max())
        return max(speeds)

    free, limited = fastest(False), fastest(True)
    assert free > go1.JOINT_VEL_LIMIT[2] > limited > 0.3 * go1.JOINT_VEL_LIMIT[2]


def test_the_torque_speed_limit_leaves_joints_without_stiffness_alone():
    state = turned(made(actuator=ActuatorConfig(torque_speed_limit=True)), 1.0, kp=ZERO, kd=np.full(12, 5.0))
    assert np.isfinite(state.joint_pos).all() and 0.03 < state.base_pos_w[2] < 0.15


def test_it_stands_with_real_motors():
    state = stood_up(actuator=ActuatorConfig((0.01, 0.02), torque_speed_limit=True)).read()
    assert state.base_pos_w[2] > 0.2 and up(state) > 0.98


def test_pushes_push_and_none_do_not():
    def leaps(**changes):
        twin, speeds = stood_up(**changes), []
        for _ in range(400):
            before = twin.read().base_lin_vel_w[:2]
            twin.step(STAND, KP, KD)
            speeds.append(np.abs(twin.read().base_lin_vel_w[:2] - before).max())
        return np.array(speeds)

    assert leaps().max() < 0.15
    pushed = leaps(pushes=Pushes(every_s=0.2, speed=0.5))  # about ten in two seconds
    assert 3 <= (pushed > 0.15).sum() <= 40 and pushed.max() <= 0.7


def test_the_same_seed_is_the_same_robot():
    def walked(seed):
        return turned(made(seed, pushes=Pushes(0.1, 0.5), actuator=ActuatorConfig((0.0, 0.03))), 1.0).base_pos_w

    np.testing.assert_array_equal(walked(3), walked(3))
    assert not np.array_equal(walked(3), walked(4))


@pytest.mark.parametrize("roll_rad", [np.pi / 2, np.pi])
def test_a_robot_can_be_tipped_over_and_laid_down_again(roll_rad):
    twin = stood_up()
    twin.tip_over(roll_rad)
    assert up(twin.read()) == pytest.approx(np.cos(roll_rad), abs=1e-9)
    state = turned(twin, 0.5)
    assert np.isfinite(state.joint_pos).all() and up(state) < 0.6
    twin.lie_down()
    np.testing.assert_array_equal(twin.read().base_pos_w, [0.0, 0.0, PRONE_HEIGHT])
    np.testing.assert_array_equal(twin.read().joint_vel, ZERO)


def test_what_was_read_does_not_change():
    twin = made()
    state = twin.read()
    before = state.base_pos_w.copy()
    turned(twin, 0.2)
    np.testing.assert_array_equal(state.base_pos_w, before)


def test_whoever_gave_a_command_may_use_its_arrays_again():
    one, other = made(), made()
    target, kp, kd = STAND.copy(), KP.copy(), KD.copy()
    for i in range(100):
        target[:], kp[:], kd[:] = STAND * (i % 3) / 2, 20.0 * (i % 2), 0.5
        one.step(target, kp, kd)
        other.step(target.copy(), kp.copy(), kd.copy())
    np.testing.assert_array_equal(one.read().joint_pos, other.read().joint_pos)


BLOWN_UP = """
import numpy as np
from twin.live import LiveTwin
from twin.world import FLAT
twin = LiveTwin(FLAT, np.random.default_rng(0))
twin._data.qvel[:] = 1e12
for _ in range(3):
    twin.step(np.zeros(12), np.zeros(12), np.zeros(12))
"""


def test_physics_that_blows_up_leaves_no_file_in_the_users_directory(root, tmp_path):
    subprocess.run([sys.executable, "-c", BLOWN_UP], cwd=tmp_path, env={"PYTHONPATH": str(root)}, check=True)
    assert not list(tmp_path.iterdir())
